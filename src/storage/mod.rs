//! Local files, confined beneath a connection's `base_path` by the kernel.
