// Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how.

import { argv, stdin, stdout } from "node:process";
import type { Readable } from "node:stream";
import * as grpc from "@grpc/grpc-js";
import type { MethodDefinition, ServiceDefinition } from "@grpc/proto-loader";

import { definitions, DETAILS } from "./schema.js";
import { write } from "./step.js";

interface Job {
  method: string;
  deadline_seconds: number;
  request_bytes: number;
}

/** Reads lines and stretches of bytes from a stream. */
class Input {
  #buffer = Buffer.alloc(0);
  #chunks: AsyncIterator<Buffer>;

  constructor(stream: Readable) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async line(): Promise<string | null> {
    let end: number;
    while ((end = this.#buffer.indexOf("\n")) < 0) if (!(await this.#more())) return null;
    return this.#take(end + 1).toString();
  }

  async bytes(count: number): Promise<Buffer> {
    while (this.#buffer.length < count) if (!(await this.#more())) throw new Error("the input ended too early");
    return this.#take(count);
  }

  #take(count: number): Buffer {
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return taken;
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (!done) this.#buffer = Buffer.concat([this.#buffer, value]);
    return !done;
  }
}

function* messages(framed: Buffer): Generator<Buffer> {
  for (let begin = 0; begin < framed.length; ) {
    const end = begin + 5 + framed.readUInt32BE(begin + 1);
    yield framed.subarray(begin + 5, end);
    begin = end;
  }
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

async function call(client: grpc.Client, job: Job, framed: Buffer): Promise<[object, Buffer]> {
  const [service, name] = job.method.split("/");
  const method: MethodDefinition<object, object> = (definitions[service] as ServiceDefinition)[name];
  const decoded = [...messages(framed)].map((message) => method.requestDeserialize(message));
  const deadline = Date.now() + job.deadline_seconds * 1000;
  // On the wire a call with one message is a stream of one.
  const stream = client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, { deadline });
  void write(stream, decoded);
  const responses: Buffer[] = [];
  try {
    for await (const response of stream) responses.push(frame(method.responseSerialize(response)));
  } catch (error) {
    const { code, details: message, metadata } = error as grpc.ServiceError;
    const details = (metadata?.get(DETAILS)[0] as Buffer | undefined)?.toString("base64");
    return [{ code, message, details }, Buffer.concat(responses)];
  }
  return [{ code: grpc.status.OK }, Buffer.concat(responses)];
}

const client = new grpc.Client(argv[2], grpc.credentials.createInsecure());
const input = new Input(stdin);
for (let line = await input.line(); line !== null; line = await input.line()) {
  const job: Job = JSON.parse(line);
  const [answer, responses] = await call(client, job, await input.bytes(job.request_bytes));
  stdout.write(`${JSON.stringify({ ...answer, response_bytes: responses.length })}\n`);
  stdout.write(responses);
}
client.close();
