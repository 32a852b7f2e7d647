//! Compiles the `.proto` files without a `protoc` program: `protox` makes the descriptor set, the
//! generator takes it from there. The public part of the set is kept for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let public = ["proto/quintet/v1/quintet.proto"];
    let files = ["proto/quintet/v1/quintet.proto", "proto/quintet/internal/v1/peer.proto"];
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let served = protox::compile(public, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), served.encode_to_vec())?;
    let path = out.join("all.bin");
    std::fs::write(&path, protox::compile(files, ["proto"])?.encode_to_vec())?;
    tonic_build::configure()
        .skip_protoc_run()
        .file_descriptor_set_path(&path)
        .bytes(["."])
        // An error travels in many results: it stays small.
        .boxed(".quintet.v1.Error.current")
        .extern_path(".quintet.v1.BatchGetRequest", "crate::bounded::BatchGetRequest")
        .extern_path(".quintet.v1.BatchPutRequest", "crate::bounded::BatchPutRequest")
        .compile_protos(&files, &["proto"])?;
    Ok(())
}
