package proximalstep;

import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import regularization.v1.DataType;
import regularization.v1.Figures;
import regularization.v1.L1Norm;
import regularization.v1.ParameterLayout;
import regularization.v1.ProximalStepHeader;
import regularization.v1.RegularizationServiceGrpc;
import regularization.v1.Regularizer;
import regularization.v1.Segment;

/** The L1 norm's proximal step of a file of float32. */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) throws IOException, InterruptedException {
    if (arguments.length < 5) {
      System.err.println("usage: TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]");
      System.exit(2);
    }
    byte[] parameters = Files.readAllBytes(Path.of(arguments[1]));
    Segment weights =
        Segment.newBuilder()
            .setName("weights")
            .addShape(parameters.length / Float.BYTES)
            .setRegularizer(
                Regularizer.newBuilder()
                    .setL1Norm(L1Norm.newBuilder().setStrength(Double.parseDouble(arguments[3]))))
            .build();
    ParameterLayout layout =
        ParameterLayout.newBuilder().setDataType(DataType.DATA_TYPE_FLOAT32).addSegments(weights).build();
    ProximalStepHeader header =
        ProximalStepHeader.newBuilder()
            .setLayout(layout)
            .setStepSize(Double.parseDouble(arguments[4]))
            .build();
    long seconds = arguments.length > 5 ? (long) Double.parseDouble(arguments[5]) : 60;

    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    long begin = System.nanoTime();
    try {
      Step.Taken taken =
          new Step(header, Float.BYTES, parameters)
              .take(RegularizationServiceGrpc.newStub(channel), Deadline.after(seconds, TimeUnit.SECONDS));
      double took = (System.nanoTime() - begin) * 1e-9;
      Files.write(Path.of(arguments[2]), taken.parameters());
      Figures total = taken.summary().getTotal();
      System.out.println("penalty  " + total.getPenalty().getValue());
      System.out.println("nonzeros " + total.getNonzeros() + " of " + total.getElements());
      System.out.printf("speed    %.0f MiB/s%n", parameters.length / 1048576.0 / took);
    } catch (Refused refused) {
      System.err.println(refused.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
