//! Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use bytes::Buf;
use data_encoding::BASE64;
use prost::Message;
use proximal_step::schema::regularization::v1::{
    CombineRequest, CombineResponse, GradientRequest, GradientResponse, ListPlansRequest, ListPlansResponse,
    ListRegularizersRequest, ListRegularizersResponse, MeasureRequest, MeasureResponse, PenaltyRequest,
    PenaltyResponse, ProximalStepRequest, ProximalStepResponse,
};
use proximal_step::schema::training::v1::{AugmentRequest, AugmentResponse, CheckRequest, CheckResponse};
use proximal_step::{framed, Channel, Code, Refusal};
use serde_json::{json, Value};
use tokio::time::Instant;

type Failure = Box<dyn Error>;

/// All responses, framed, and how the call ended.
type Outcome = (Vec<u8>, Result<(), Refusal>);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut channel = Channel::new(env::args().nth(1).ok_or("usage: conformance TARGET")?);
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let job: Value = serde_json::from_str(&line)?;
        let mut requests = Vec::new();
        input.by_ref().take(job["request_bytes"].as_u64().ok_or("no size")?).read_to_end(&mut requests)?;
        let (responses, ended) = call(&mut channel, &job, &requests).await?;
        let refusal = ended.err().unwrap_or_else(|| Refusal::new(Code::OK, ""));
        let answer = json!({
            "code": refusal.code.to_string(),
            "details": BASE64.encode(&refusal.details),
            "message": refusal.text,
            "response_bytes": responses.len(),
        });
        writeln!(output, "{answer}")?;
        output.write_all(&responses)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

/// Makes a call with the messages of its method.
async fn call(channel: &mut Channel, job: &Value, requests: &[u8]) -> Result<Outcome, Failure> {
    let method = job["method"].as_str().ok_or("no method")?;
    let deadline = Instant::now() + Duration::from_secs_f64(job["deadline_seconds"].as_f64().ok_or("no deadline")?);
    macro_rules! with {
        ($request:ty, $response:ty) => {
            made::<$request, $response>(channel, method, deadline, requests).await
        };
    }
    match method.rsplit('/').next() {
        Some("Penalty") => with!(PenaltyRequest, PenaltyResponse),
        Some("Gradient") => with!(GradientRequest, GradientResponse),
        Some("ProximalStep") => with!(ProximalStepRequest, ProximalStepResponse),
        Some("Measure") => with!(MeasureRequest, MeasureResponse),
        Some("Combine") => with!(CombineRequest, CombineResponse),
        Some("ListRegularizers") => with!(ListRegularizersRequest, ListRegularizersResponse),
        Some("ListPlans") => with!(ListPlansRequest, ListPlansResponse),
        Some("Augment") => with!(AugmentRequest, AugmentResponse),
        Some("Check") => with!(CheckRequest, CheckResponse),
        _ => Err(format!("no such method: {method}").into()),
    }
}

/// On the wire every call is a stream both ways.
async fn made<Q, R>(
    channel: &mut Channel,
    method: &str,
    deadline: Instant,
    mut framed_requests: &[u8],
) -> Result<Outcome, Failure>
where
    Q: Message + Default,
    R: Message + Default,
{
    let mut requests = Vec::new();
    while !framed_requests.is_empty() {
        let (head, rest) = framed_requests.split_at(5);
        let (message, rest) = rest.split_at((&head[1..]).get_u32() as usize);
        requests.push(Q::decode(message)?);
        framed_requests = rest;
    }
    let mut responses = Vec::new();
    let take = |response: R| {
        responses.extend_from_slice(&framed(&response)?);
        Ok(())
    };
    let ended = channel.call(method, deadline, requests, take).await;
    Ok((responses, ended))
}
