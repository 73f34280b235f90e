package proximalstep;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.nio.ByteBuffer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import regularization.v1.ProximalStepHeader;
import regularization.v1.ProximalStepRequest;
import regularization.v1.ProximalStepResponse;
import regularization.v1.RegularizationServiceGrpc.RegularizationServiceStub;
import regularization.v1.Summary;
import regularization.v1.TensorChunk;

/**
 * A proximal step of a vector.
 *
 * @param header Layout, step size and so on.
 * @param elementSize Bytes of an element.
 * @param parameters The elements, as the layout's data type has them.
 */
public record Step(ProximalStepHeader header, int elementSize, byte[] parameters) {
  private static final int CHUNK_BYTES = 1 << 20;
  private static final int ATTEMPTS = 5;

  /** What came of a step. */
  public record Taken(byte[] parameters, Summary summary) {}

  /** Takes the step. A stream that broke is sent anew, for a call is a function of its messages alone. */
  public Taken take(RegularizationServiceStub service, Deadline deadline) throws Refused, InterruptedException {
    for (int attempt = 1; ; ++attempt) {
      Stream stream = new Stream();
      service.withDeadline(deadline).proximalStep(stream);
      try {
        return stream.taken.get();
      } catch (ExecutionException failed) {
        Refused refused = Refused.of(failed.getCause());
        if (!refused.broke() || attempt == ATTEMPTS) {
          throw refused;
        }
      }
      Thread.sleep(ThreadLocalRandom.current().nextLong(100L << attempt));
    }
  }

  /** One attempt: writes whenever gRPC has room, and takes what comes meanwhile. */
  private final class Stream implements ClientResponseObserver<ProximalStepRequest, ProximalStepResponse> {
    private final CompletableFuture<Taken> taken = new CompletableFuture<>();
    private final ByteBuffer result = ByteBuffer.allocate(parameters.length);
    private ClientCallStreamObserver<ProximalStepRequest> requests;
    private Summary summary;
    private boolean headed;
    private boolean closed;
    private int sent;

    @Override
    public void beforeStart(ClientCallStreamObserver<ProximalStepRequest> stream) {
      requests = stream;
      stream.setOnReadyHandler(this::write);
    }

    private void write() {
      while (requests.isReady() && !closed) {
        if (!headed) {
          headed = true;
          requests.onNext(ProximalStepRequest.newBuilder().setHeader(header).build());
        } else if (sent < parameters.length) {
          int size = Math.min(CHUNK_BYTES, parameters.length - sent);
          ByteString elements = UnsafeByteOperations.unsafeWrap(parameters, sent, size);
          TensorChunk chunk =
              TensorChunk.newBuilder().setElementOffset(sent / elementSize).setParameters(elements).build();
          requests.onNext(ProximalStepRequest.newBuilder().setChunk(chunk).build());
          sent += size;
        } else {
          closed = true;
          requests.onCompleted();
        }
      }
    }

    @Override
    public void onNext(ProximalStepResponse response) {
      ByteString values = response.getChunk().getValues();
      boolean next = response.getChunk().getElementOffset() * elementSize == result.position();
      if (response.hasChunk() && (!next || values.size() > result.remaining())) {
        onError(Status.INTERNAL.withDescription("a result chunk is not the next one").asException());
        requests.cancel("the answer is wrong", null);
        return;
      }
      values.copyTo(result);
      if (response.hasSummary()) {
        summary = response.getSummary();
      }
    }

    @Override
    public void onError(Throwable error) {
      taken.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      if (summary == null || result.hasRemaining()) {
        onError(Status.UNAVAILABLE.withDescription("the stream ended before its summary").asException());
      } else {
        taken.complete(new Taken(result.array(), summary));
      }
    }
  }
}
