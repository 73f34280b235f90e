//! A proximal step of a vector.

use std::iter;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep_until, Instant};

use crate::refusal::{Code, Refusal};
use crate::rpc::Channel;
use crate::schema::regularization::v1::{
    ProximalStepHeader, ProximalStepRequest, ProximalStepResponse, Summary, TensorChunk,
};

const CHUNK_BYTES: usize = 1 << 20;
const ATTEMPTS: u32 = 5;
const METHOD: &str = "regularization.v1.RegularizationService/ProximalStep";

/// A step to take.
pub struct Step {
    /// Layout, step size and so on.
    pub header: ProximalStepHeader,
    /// Bytes of an element.
    pub element_size: usize,
    /// The elements, as the layout's data type has them.
    pub parameters: Bytes,
}

/// What came of it.
pub struct Taken {
    pub parameters: Vec<u8>,
    pub summary: Summary,
}

impl Step {
    /// Takes the step. A stream that broke is sent anew, for a call is a function of its messages alone; the deadline is
    /// for all attempts.
    pub async fn take(&self, channel: &mut Channel, deadline: Instant) -> Result<Taken, Refusal> {
        let mut attempt = 1;
        loop {
            match self.one_stream(channel, deadline).await {
                Err(refusal) if refusal.broke() && attempt < ATTEMPTS => {}
                ended => return ended,
            }
            let pause = Duration::from_millis(100 << attempt).mul_f64(fastrand::f64());
            sleep_until(deadline.min(Instant::now() + pause)).await;
            attempt += 1;
        }
    }

    async fn one_stream(&self, channel: &mut Channel, deadline: Instant) -> Result<Taken, Refusal> {
        let mut parameters = Vec::with_capacity(self.parameters.len());
        let mut summary = None;
        let take = |response| self.add(response, &mut parameters, &mut summary);
        channel.call(METHOD, deadline, self.requests(), take).await?;
        match summary {
            Some(summary) if parameters.len() == self.parameters.len() => Ok(Taken { parameters, summary }),
            _ => Err(Refusal::new(Code::UNAVAILABLE, "the stream ended before its summary")),
        }
    }

    /// All messages, of which each is made when it is to be written.
    fn requests(&self) -> impl Iterator<Item = ProximalStepRequest> + '_ {
        let header = ProximalStepRequest { header: Some(self.header.clone()), chunk: None };
        let all = self.parameters.len();
        let chunks = (0..all).step_by(CHUNK_BYTES).map(move |begin| {
            let chunk = TensorChunk {
                element_offset: (begin / self.element_size) as i64,
                parameters: self.parameters.slice(begin..all.min(begin + CHUNK_BYTES)),
                ..TensorChunk::default()
            };
            ProximalStepRequest { header: None, chunk: Some(chunk) }
        });
        iter::once(header).chain(chunks)
    }

    /// Takes what a response has. An answer that is not the next part of the result would not be so the next time either.
    fn add(
        &self,
        response: ProximalStepResponse,
        parameters: &mut Vec<u8>,
        summary: &mut Option<Summary>,
    ) -> Result<(), Refusal> {
        if summary.is_some() {
            return Err(Refusal::new(Code::DATA_LOSS, "the summary is not the last message"));
        }
        if let Some(chunk) = response.chunk {
            let offset = usize::try_from(chunk.element_offset).ok();
            let begin = offset.and_then(|offset| offset.checked_mul(self.element_size));
            let room = self.parameters.len() - parameters.len();
            if begin != Some(parameters.len()) || chunk.values.len() > room || !chunk.nonzero_bitmap.is_empty() {
                return Err(Refusal::new(Code::DATA_LOSS, "a result chunk is not the next one"));
            }
            parameters.extend_from_slice(&chunk.values);
        }
        *summary = response.summary;
        Ok(())
    }
}
