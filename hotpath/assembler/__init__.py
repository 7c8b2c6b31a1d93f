"""The gRPC process that verifies callers (`Auth`) and builds contexts (`ContextAssembly`)."""
