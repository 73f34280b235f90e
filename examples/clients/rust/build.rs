//! Generates the schema's messages, and those of google.rpc that the details of errors are made of.

use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    let protos = Path::new("../../../protos");
    let mut files: Vec<PathBuf> =
        ["status", "error_details"].map(|name| protos.join(format!("third_party/google/rpc/{name}.proto"))).into();
    for package in ["regularization/v1", "training/v1"] {
        for entry in fs::read_dir(protos.join(package))? {
            let path = entry?.path();
            if path.extension().map_or(false, |name| name == "proto") {
                files.push(path);
            }
        }
    }
    println!("cargo:rerun-if-changed={}", protos.display());
    prost_build::Config::new()
        // Elements are not copied into a message and out of it.
        .bytes(["."])
        .include_file("schema.rs")
        .compile_protos(&files, &[protos, &protos.join("third_party")])
}
