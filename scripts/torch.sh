# Sourced by setup.sh and lock.sh: sets `torch`, the options that make uv take a build of PyTorch
# that fits, out of three places that may hold one. $1: what to ask PyTorch's own index for.
#
# A folder that pip knows comes first: its build for processors needs no CUDA packages. The version
# has to be named with its +cpu, or the resolver follows the needs of the other build.
torch_options() {
  local links wheel
  links=$("${python:-python3}" -m pip config get global.find-links 2>/dev/null || true)
  wheel=$(ls "${links:-/nowhere}"/torch-*+cpu-*.whl 2>/dev/null | head -n 1 || true)
  if [ -n "$wheel" ]; then
    torch_pin=$(mktemp)
    printf 'torch==%s\n' "$(basename "$wheel" | cut -d- -f2)" >"$torch_pin"
    trap 'rm -f "$torch_pin"' EXIT
    torch=(--find-links "$links" --constraint "$torch_pin")
  else
    torch=("--torch-backend=$1")
  fi
}
