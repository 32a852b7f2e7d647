//! What both sides of the comparison with etcd measure with is compiled and tested here too.
//!
//! `etcd-load` needs the feature `etcd`, and with it protoc: a plain build leaves it out, and whoever made the module
//! depend on the server would not notice (`server/src/cli/bench/measure/mod.rs` says why it must not). So it is
//! compiled here by its path as `etcd-load` does, and its unit tests run.

#[path = "../../server/src/cli/bench/measure/mod.rs"]
#[expect(
    dead_code,
    reason = "its tests use a part of it; all of it is used by `quintet bench` and `etcd-load`"
)]
mod measure;
