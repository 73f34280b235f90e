//! Proximal steps of vectors of any size, each as one stream that is written and read at once.

mod refusal;
mod rpc;
mod step;

pub use refusal::{Code, Refusal};
pub use rpc::{framed, Channel};
pub use step::{Step, Taken};

/// The generated messages.
#[allow(clippy::all, rustdoc::all)]
pub mod schema {
    include!(concat!(env!("OUT_DIR"), "/schema.rs"));
}
