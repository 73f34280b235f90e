package proximalstep;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.protobuf.MessageLite;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServiceDescriptor;
import io.grpc.Status;
import java.io.BufferedInputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import regularization.v1.RegularizationServiceGrpc;
import training.v1.AugmentationServiceGrpc;
import training.v1.EarlyStoppingServiceGrpc;

/** Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how. */
public final class Conformance {
  private static final List<ServiceDescriptor> SERVICES =
      List.of(
          RegularizationServiceGrpc.getServiceDescriptor(),
          AugmentationServiceGrpc.getServiceDescriptor(),
          EarlyStoppingServiceGrpc.getServiceDescriptor());
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private Conformance() {}

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Gson gson = new Gson();
    DataInputStream input = new DataInputStream(new BufferedInputStream(System.in));
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    for (String line = line(input); !line.isEmpty(); line = line(input)) {
      JsonObject job = gson.fromJson(line, JsonObject.class);
      byte[] framed = input.readNBytes(job.get("request_bytes").getAsInt());
      double seconds = job.get("deadline_seconds").getAsDouble();
      Call<?, ?> call = new Call<>(method(job.get("method").getAsString()), framed);
      call.carryOut(channel, CallOptions.DEFAULT.withDeadlineAfter((long) (seconds * 1000), TimeUnit.MILLISECONDS));

      byte[] details = call.trailers.get(DETAILS);
      JsonObject answer = new JsonObject();
      answer.addProperty("code", call.status.getCode().value());
      answer.addProperty("message", call.status.getDescription());
      answer.addProperty("details", details == null ? "" : Base64.getEncoder().encodeToString(details));
      answer.addProperty("response_bytes", call.responses.size());
      System.out.write((gson.toJson(answer) + "\n").getBytes(StandardCharsets.UTF_8));
      call.responses.writeTo(System.out);
      System.out.flush();
    }
    channel.shutdownNow();
  }

  private static String line(InputStream input) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int next = input.read(); next >= 0 && next != '\n'; next = input.read()) {
      bytes.write(next);
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private static MethodDescriptor<?, ?> method(String name) {
    return SERVICES.stream()
        .flatMap(service -> service.getMethods().stream())
        .filter(method -> method.getFullMethodName().equals(name))
        .findFirst()
        .orElseThrow();
  }

  /** A call whose requests are decoded and encoded again by generated classes, and whose responses likewise. */
  private static final class Call<Q, R> extends ClientCall.Listener<R> {
    private final MethodDescriptor<Q, R> method;
    private final Queue<Q> requests = new ArrayDeque<>();
    private final CountDownLatch over = new CountDownLatch(1);
    private final ByteArrayOutputStream responses = new ByteArrayOutputStream();
    private ClientCall<Q, R> call;
    private boolean closed;
    private Status status;
    private Metadata trailers;

    Call(MethodDescriptor<Q, R> method, byte[] framed) throws IOException {
      this.method = method;
      DataInputStream frames = new DataInputStream(new ByteArrayInputStream(framed));
      while (frames.available() > 0) {
        frames.readByte();
        requests.add(method.parseRequest(new ByteArrayInputStream(frames.readNBytes(frames.readInt()))));
      }
    }

    void carryOut(ManagedChannel channel, CallOptions options) throws InterruptedException {
      call = channel.newCall(method, options);
      call.start(this, new Metadata());
      call.request(1);
      if (method.getType().clientSendsOneMessage()) {
        // Such a call is never told that it may send.
        call.sendMessage(requests.remove());
        call.halfClose();
      }
      over.await();
    }

    @Override
    public void onReady() {
      while (call.isReady() && !closed && !method.getType().clientSendsOneMessage()) {
        if (requests.isEmpty()) {
          closed = true;
          call.halfClose();
        } else {
          call.sendMessage(requests.remove());
        }
      }
    }

    @Override
    public void onMessage(R response) {
      byte[] message = ((MessageLite) response).toByteArray();
      try {
        DataOutputStream frame = new DataOutputStream(responses);
        frame.writeByte(0);
        frame.writeInt(message.length);
        frame.write(message);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
      call.request(1);
    }

    @Override
    public void onClose(Status ended, Metadata trailer) {
      status = ended;
      trailers = trailer;
      over.countDown();
    }
  }
}
