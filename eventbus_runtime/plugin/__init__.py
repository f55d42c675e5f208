"""The plugin process: all of this over gRPC, a drop-in for the binary of the origin (S-60). Needs the extra `rpc`."""
