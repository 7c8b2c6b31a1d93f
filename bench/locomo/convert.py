"""LoCoMo conversations as lines that `ibex import` reads.

    python -m bench.locomo.convert locomo.json --out locomo.jsonl [--sample conv-42]

The first speaker becomes the user, the second the assistant, both with their `name`; a message's
`id` is its `dia_id`, which the data set's questions name as evidence. LoCoMo (Maharana et al.,
ACL 2024, https://arxiv.org/abs/2402.17753) may not be used commercially and is not part of this
project.
"""

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

_BETWEEN_MESSAGES = timedelta(seconds=30)  # the data set has one time a session


def conversations(sample: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One import line a session, in order of time."""
    conversation = sample["conversation"]
    numbers = sorted(
        int(key.split("_")[1]) for key in conversation if re.fullmatch(r"session_\d+", key)
    )
    for number in numbers:
        messages = conversation[f"session_{number}"]
        if not messages:
            continue
        started = session_time(conversation[f"session_{number}_date_time"])
        yield {
            "agent": f"locomo-{sample['sample_id']}",
            "session_id": f"{sample['sample_id']}-session-{number}",
            "started_at": started.isoformat(),
            "messages": [
                {
                    "role": "user" if said["speaker"] == conversation["speaker_a"] else "assistant",
                    "name": said["speaker"],
                    "content": _text(said),
                    "id": said["dia_id"],
                    "created_at": (started + index * _BETWEEN_MESSAGES).isoformat(),
                }
                for index, said in enumerate(messages)
            ],
        }


def session_time(text: str) -> datetime:
    """`1:56 pm on 8 May, 2023`, taken as UTC."""
    return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)


def _text(said: dict[str, Any]) -> str:
    caption = said.get("blip_caption")
    return f"{said['text']} [shares {caption}]" if caption else str(said["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's JSON file")
    parser.add_argument("--out", type=Path, required=True, help="where the lines go")
    parser.add_argument("--sample", help="only this conversation, e.g. conv-42")
    options = parser.parse_args()

    samples = orjson.loads(options.data.read_bytes())
    known = [sample["sample_id"] for sample in samples]
    if options.sample and options.sample not in known:
        parser.error(f"there is no {options.sample}; the file has {', '.join(known)}")
    lines = [
        line
        for sample in samples
        if options.sample in (None, sample["sample_id"])
        for line in conversations(sample)
    ]
    options.out.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    print(f"{len(lines)} sessions, {sum(len(line['messages']) for line in lines)} messages")


if __name__ == "__main__":
    main()
