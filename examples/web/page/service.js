// Calls of the service in JSON, as Envoy takes them: a method that reads a stream takes an array of messages.

const SERVICE = "regularization.v1.RegularizationService";
const SECONDS = 10;

/** What the service refuses: the rule in words, its reason, and the field that breaks it. */
export class Refusal extends Error {
  /** @param {{message?: string, details?: object[]}} status google.rpc.Status in JSON. */
  constructor(status) {
    super(status.message || "The service refused without a word.");
    const details = status.details ?? [];
    const of = (type) => details.find((each) => each["@type"]?.endsWith(type)) ?? {};
    this.reason = of("google.rpc.ErrorInfo").reason ?? "";
    this.field = of("google.rpc.BadRequest").fieldViolations?.[0]?.field ?? "";
  }
}

/** The service behind an address such as http://localhost:8080. */
export class Service {
  constructor(address) {
    this.address = address.replace(/\/+$/, "");
  }

  /** The descriptions of all regularizers. */
  async catalogue() {
    return (await this.#call("ListRegularizers", {})).regularizers;
  }

  /** The penalty of a vector, as a summary. */
  async penalty(call) {
    return (await this.#call("Penalty", [call])).summary;
  }

  /** Gradient or proximal step of a vector: the values, and a summary. */
  async transform(method, call) {
    const answers = await this.#call(method, [call]);
    const summary = answers.at(-1)?.summary;
    // A refusal that comes after answers is lost in JSON: the array just ends.
    if (!summary) throw new Error("The answer is not whole.");
    return { values: answers.flatMap((answer) => decoded(answer.chunk?.values ?? "")), summary };
  }

  /** Where a method is. */
  url(method) {
    return `${this.address}/${SERVICE}/${method}`;
  }

  async #call(method, body) {
    let response;
    try {
      response = await fetch(this.url(method), {
        method: "POST",
        headers: { "content-type": "application/json", "grpc-timeout": `${SECONDS}S` },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(SECONDS * 1000),
      });
    } catch {
      throw new Error(`Nothing answers at ${this.address}, or it does not let this page call.`);
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refusal({ message: `HTTP ${response.status}`, ...answer });
    return answer;
  }
}

/** The message with header and elements, for a method. */
export function message(method, { shape, values, regularizer, stepSize }) {
  const layout = { dataType: "DATA_TYPE_FLOAT64", segments: [{ name: "x", shape, regularizer }] };
  const header = method === "ProximalStep" ? { layout, stepSize } : { layout };
  return { header, chunk: { parameters: encoded(values) } };
}

/** Numbers as the contract has them: float64, little-endian, in base64. */
export function encoded(values) {
  const bytes = new DataView(new ArrayBuffer(8 * values.length));
  values.forEach((value, index) => bytes.setFloat64(8 * index, value, true));
  return btoa(String.fromCharCode(...new Uint8Array(bytes.buffer)));
}

/** And back. */
export function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 8 }, (_, index) => view.getFloat64(8 * index, true));
}

/** A name of the schema as JSON has it: l1_norm is l1Norm there. */
export function inJson(name) {
  return name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}
