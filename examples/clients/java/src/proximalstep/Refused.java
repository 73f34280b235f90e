package proximalstep;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.List;

/** Why a call failed: the status, and what the service says of it to programs. */
public final class Refused extends Exception {
  public final Status.Code code;
  /** A name of ErrorReason; empty where gRPC or a proxy spoke. */
  public final String reason;
  /** Of the request, at fault, as paths from the message. */
  public final List<String> fields;

  private Refused(Status status, String reason, List<String> fields) {
    super(text(status, reason, fields), status.getCause());
    this.code = status.getCode();
    this.reason = reason;
    this.fields = fields;
  }

  /** What an error of gRPC says, with its trailer grpc-status-details-bin. */
  public static Refused of(Throwable error) {
    String reason = "";
    List<String> fields = new ArrayList<>();
    com.google.rpc.Status details = StatusProto.fromThrowable(error);
    for (Any detail : details == null ? List.<Any>of() : details.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          detail.unpack(BadRequest.class).getFieldViolationsList().forEach(each -> fields.add(each.getField()));
        }
      } catch (InvalidProtocolBufferException unreadable) {
        continue; // Then the status alone speaks.
      }
    }
    return new Refused(Status.fromThrowable(error), reason, List.copyOf(fields));
  }

  private static String text(Status status, String reason, List<String> fields) {
    List<String> words = new ArrayList<>(List.of(status.getCode().name()));
    if (!reason.isEmpty()) {
      words.add(reason);
    }
    words.addAll(fields);
    return String.join(" ", words) + ": " + status.getDescription();
  }

  /** Whether the stream broke, so that sending all of it again is right. */
  public boolean broke() {
    return switch (code) {
      case UNAVAILABLE -> true;
      case INTERNAL, UNKNOWN, CANCELLED -> reason.isEmpty();
      default -> false;
    };
  }
}
