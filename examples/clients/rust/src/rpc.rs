//! gRPC over cleartext HTTP/2, as much of it as a call needs. h2 does the frames and the flow control.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data_encoding::BASE64_NOPAD;
use futures_util::future::poll_fn;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, StatusCode};
use percent_encoding::percent_decode;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::{timeout_at, Instant};

use crate::refusal::{Code, Refusal};

/// What may come of a call before it is taken, in bytes.
const WINDOW: u32 = 4 << 20;
const LARGEST_FRAME: u32 = 1 << 18;
/// Which is what gRPC takes unless it is told otherwise, and the schema promises.
const LARGEST_RESPONSE: usize = 4 << 20;
/// Before a message: whether it is compressed, and its size.
const HEAD: usize = 5;

/// A connection to a server, which is opened by the first call, and anew after it broke.
pub struct Channel {
    target: String,
    open: Option<SendRequest<Bytes>>,
}

impl Channel {
    /// To "host:port".
    pub fn new(target: impl Into<String>) -> Channel {
        Channel { target: target.into(), open: None }
    }

    /// Makes a call of "package.Service/Method": writes the requests, and has the responses taken meanwhile. Where
    /// `take` fails, the call does.
    pub async fn call<Q, R>(
        &mut self,
        method: &str,
        deadline: Instant,
        requests: impl IntoIterator<Item = Q>,
        take: impl FnMut(R) -> Result<(), Refusal>,
    ) -> Result<(), Refusal>
    where
        Q: Message,
        R: Message + Default,
    {
        let ended = timeout_at(deadline, self.carried(method, deadline, requests, take)).await;
        ended.unwrap_or_else(|_| Err(Refusal::new(Code::DEADLINE_EXCEEDED, "the deadline is over")))
    }

    async fn carried<Q: Message, R: Message + Default>(
        &mut self,
        method: &str,
        deadline: Instant,
        requests: impl IntoIterator<Item = Q>,
        take: impl FnMut(R) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let request = Request::post(format!("http://{}/{method}", self.target))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout(deadline))
            .body(())
            .map_err(|error| Refusal::new(Code::INTERNAL, error.to_string()))?;
        let (response, stream) = self.opened().await?.send_request(request, false).map_err(broken)?;
        let reading = read(response, take);
        tokio::pin!(reading);
        // Whoever writes a long stream to its end before reading stands still. If it ends before, no more is written.
        tokio::select! {
            ended = &mut reading => ended,
            written = write(stream, requests) => {
                written?;
                reading.await
            }
        }
    }

    async fn opened(&mut self) -> Result<SendRequest<Bytes>, Refusal> {
        if let Some(open) = self.open.take() {
            if let Ok(ready) = open.ready().await {
                self.open = Some(ready.clone());
                return Ok(ready);
            }
        }
        let unreachable =
            |error| Refusal::new(Code::UNAVAILABLE, format!("cannot connect to {}: {error}", self.target));
        let socket = TcpStream::connect(&self.target).await.map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        let mut settings = client::Builder::new();
        settings.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).max_frame_size(LARGEST_FRAME);
        let (opened, connection) = settings.handshake(socket).await.map_err(broken)?;
        // Calls hear of it where it fails.
        tokio::spawn(connection);
        let ready = opened.ready().await.map_err(broken)?;
        self.open = Some(ready.clone());
        Ok(ready)
    }
}

/// The time until then, of which gRPC takes eight digits.
fn timeout(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    format!("{}m", left.clamp(Duration::from_millis(1), Duration::from_millis(99_999_999)).as_millis())
}

/// A message behind its head.
pub fn framed(message: &impl Message) -> Result<Bytes, Refusal> {
    let size = message.encoded_len();
    let too_large = |_| Refusal::new(Code::RESOURCE_EXHAUSTED, "a message is too large for gRPC");
    let mut frame = BytesMut::with_capacity(HEAD + size);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(size).map_err(too_large)?);
    message.encode(&mut frame).map_err(|error| Refusal::new(Code::INTERNAL, error.to_string()))?;
    Ok(frame.freeze())
}

/// Writes all requests, as fast as the server takes them. Where the stream ends before, its reader hears why.
async fn write<Q: Message>(
    mut stream: SendStream<Bytes>,
    requests: impl IntoIterator<Item = Q>,
) -> Result<(), Refusal> {
    for request in requests {
        let mut frame = framed(&request)?;
        while !frame.is_empty() {
            stream.reserve_capacity(frame.len());
            let room = match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(room)) => room.min(frame.len()),
                Some(Err(_)) | None => return Ok(()),
            };
            if stream.send_data(frame.split_to(room), false).is_err() {
                return Ok(());
            }
        }
    }
    // An error here is the reader's, too.
    let _ = stream.send_data(Bytes::new(), true);
    Ok(())
}

/// Has all responses taken, and finds what the call ended with.
async fn read<R: Message + Default>(
    response: ResponseFuture,
    mut take: impl FnMut(R) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    let kind = head.headers.get("content-type").map_or(&b""[..], |value| value.as_bytes());
    if head.status != StatusCode::OK || !kind.starts_with(b"application/grpc") {
        return Err(no_grpc(head.status));
    }
    // What has no messages may have its status in its head; a reset that follows would hide it.
    if head.headers.contains_key("grpc-status") {
        return ended(&head.headers);
    }
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        body.flow_control().release_capacity(data.len()).map_err(broken)?;
        received.extend_from_slice(&data);
        while let Some(message) = next(&mut received)? {
            let unreadable = |_| Refusal::new(Code::DATA_LOSS, "a response cannot be read");
            take(R::decode(message).map_err(unreadable)?)?;
        }
    }
    ended(&body.trailers().await.map_err(broken)?.unwrap_or_default())?;
    if received.is_empty() {
        Ok(())
    } else {
        Err(Refusal::new(Code::INTERNAL, "the last response is cut off"))
    }
}

/// The next message, once all of it is there.
fn next(received: &mut BytesMut) -> Result<Option<Bytes>, Refusal> {
    if received.len() < HEAD {
        return Ok(None);
    }
    let mut head = &received[..HEAD];
    if head.get_u8() != 0 {
        return Err(Refusal::new(Code::DATA_LOSS, "a response is compressed, which was not asked for"));
    }
    let size = head.get_u32() as usize;
    if size > LARGEST_RESPONSE {
        return Err(Refusal::new(Code::RESOURCE_EXHAUSTED, format!("a response has {size} bytes")));
    }
    if received.len() < HEAD + size {
        received.reserve(HEAD + size - received.len());
        return Ok(None);
    }
    received.advance(HEAD);
    Ok(Some(received.split_to(size).freeze()))
}

fn ended(trailers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| trailers.get(name).map(|value| value.as_bytes());
    let code = match text("grpc-status") {
        Some(code) => Code::parse(code),
        None => return Err(Refusal::new(Code::UNKNOWN, "the stream ended without a status")),
    };
    if code == Code::OK {
        return Ok(());
    }
    let message = text("grpc-message").unwrap_or_default();
    let details = text("grpc-status-details-bin").unwrap_or_default();
    // With or without padding.
    let unpadded = details.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    Err(Refusal {
        code,
        text: percent_decode(message).decode_utf8_lossy().into_owned(),
        details: BASE64_NOPAD.decode(&details[..unpadded]).unwrap_or_default().into(),
    })
}

/// Where the other side is no gRPC, or a proxy answers in its place.
fn no_grpc(status: StatusCode) -> Refusal {
    let code = match status.as_u16() {
        400 => Code::INTERNAL,
        401 => Code::UNAUTHENTICATED,
        403 => Code::PERMISSION_DENIED,
        404 => Code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => Code::UNAVAILABLE,
        _ => Code::UNKNOWN,
    };
    Refusal::new(code, format!("no answer of gRPC, HTTP status {status}"))
}

/// Where the stream was reset, or its connection broke.
fn broken(error: h2::Error) -> Refusal {
    let code = match error.reason() {
        None | Some(Reason::REFUSED_STREAM) => Code::UNAVAILABLE,
        Some(_) if error.is_go_away() => Code::UNAVAILABLE,
        Some(Reason::CANCEL) => Code::CANCELLED,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::RESOURCE_EXHAUSTED,
        Some(Reason::INADEQUATE_SECURITY) => Code::PERMISSION_DENIED,
        Some(_) => Code::INTERNAL,
    };
    Refusal::new(code, error.to_string())
}
