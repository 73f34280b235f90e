//! Why a call failed: the status, and what the service says of it to programs.

use std::{error, fmt};

use bytes::Bytes;
use prost::Message;

use crate::schema::google::rpc::{BadRequest, ErrorInfo, Status};

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A status code of gRPC, which prints as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(usize);

impl Code {
    pub const OK: Code = Code(0);
    pub const CANCELLED: Code = Code(1);
    pub const UNKNOWN: Code = Code(2);
    pub const DEADLINE_EXCEEDED: Code = Code(4);
    pub const PERMISSION_DENIED: Code = Code(7);
    pub const RESOURCE_EXHAUSTED: Code = Code(8);
    pub const UNIMPLEMENTED: Code = Code(12);
    pub const INTERNAL: Code = Code(13);
    pub const UNAVAILABLE: Code = Code(14);
    pub const DATA_LOSS: Code = Code(15);
    pub const UNAUTHENTICATED: Code = Code(16);

    /// The code that a text says; UNKNOWN where it says none.
    pub fn parse(text: &[u8]) -> Code {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number.filter(|&number| number < NAMES.len()).map_or(Code::UNKNOWN, Code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NAMES[self.0])
    }
}

/// What a call ended with, where that is not OK.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    /// For people.
    pub text: String,
    /// The trailer grpc-status-details-bin, a serialized google.rpc.Status; empty where gRPC or a proxy spoke.
    pub details: Bytes,
}

impl Refusal {
    /// A refusal of this side's own.
    pub fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal { code, text: text.into(), details: Bytes::new() }
    }

    /// A name of ErrorReason, where the service spoke.
    pub fn reason(&self) -> Option<String> {
        self.details::<ErrorInfo>("/google.rpc.ErrorInfo").map(|info| info.reason).find(|reason| !reason.is_empty())
    }

    /// Fields of the request that are at fault, as paths from the message.
    pub fn fields(&self) -> Vec<String> {
        self.details::<BadRequest>("/google.rpc.BadRequest")
            .flat_map(|request| request.field_violations)
            .map(|violation| violation.field)
            .collect()
    }

    /// Whether the stream broke, so that sending all of it again is right.
    pub fn broke(&self) -> bool {
        match self.code {
            Code::UNAVAILABLE => true,
            Code::INTERNAL | Code::UNKNOWN | Code::CANCELLED => self.reason().is_none(),
            _ => false,
        }
    }

    /// The details of a type, by how its URL ends. What cannot be read is left out: then the status alone speaks.
    fn details<M: Message + Default>(&self, kind: &'static str) -> impl Iterator<Item = M> {
        let status = Status::decode(self.details.clone()).unwrap_or_default();
        let details = status.details.into_iter().filter(move |any| any.type_url.ends_with(kind));
        details.filter_map(|any| M::decode(&*any.value).ok())
    }
}

impl fmt::Display for Refusal {
    /// All of it in a line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code)?;
        for word in self.reason().into_iter().chain(self.fields()) {
            write!(formatter, " {word}")?;
        }
        write!(formatter, ": {}", self.text)
    }
}

impl error::Error for Refusal {}
