/* A client of the hand-off in C: memory that it shares with the server, with nothing but the system's calls.
 *
 *     cc -o shared_memory shared_memory.c
 *     regularization-server --listen unix:/tmp/r.sock &
 *     ./shared_memory /tmp/r.sock
 *
 * It gets a region, puts the vector (0.8, -0.3, 0.5) in it and prints the region's handle. Any gRPC client, in any
 * language, may now call Gradient or ProximalStep with this handle in its header's field `shared`: parameters at
 * byte_offset 0, result at byte_offset 12, three elements of DATA_TYPE_FLOAT32. After a line on standard input the
 * program prints what the server has put there. docs/shared-memory.md says what the bytes mean.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Little-endian, as the processor's own numbers are; without gaps between them. */
struct request { char magic[4]; uint32_t operation; uint64_t size; unsigned char handle[16]; };
struct reply { uint32_t status, zero; uint64_t size; unsigned char handle[16]; };

enum { ALLOCATE = 1, RELEASE = 2 };
enum { ELEMENTS = 3 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The hand-off's socket stands beside the server's, with ".memory" behind its name. */
static int connect_to_hand_off(const char *server)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s.memory", server);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) {
        fprintf(stderr, "%s: the path is too long\n", server);
        exit(1);
    }
    /* Close-on-exec: a child that keeps the connection open keeps the memory, too. */
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        fail(address.sun_path);
    return connection;
}

/* Sends a request and reads its reply; gives the descriptor that came with it, or -1. */
static int ask(int connection, uint32_t operation, uint64_t size, const unsigned char *handle, struct reply *reply)
{
    struct request request = { .magic = { 'R', 'G', 'M', '1' }, .operation = operation, .size = size };
    if (handle)
        memcpy(request.handle, handle, sizeof request.handle);
    if (send(connection, &request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        fail("send");

    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
    struct iovec part = { .iov_base = reply, .iov_len = sizeof *reply };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
    };
    /* Replies are 32 bytes, written at once. None at all: the server takes memory of its own user only. */
    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof *reply)
        fail("no reply");
    int descriptor = -1;
    struct cmsghdr *passed = CMSG_FIRSTHDR(&message);
    if (passed && passed->cmsg_level == SOL_SOCKET && passed->cmsg_type == SCM_RIGHTS)
        memcpy(&descriptor, CMSG_DATA(passed), sizeof descriptor);
    if (reply->status != 0) {
        fprintf(stderr, "the server refuses with status %u\n", reply->status);
        exit(1);
    }
    return descriptor;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH-OF-THE-SERVER'S-SOCKET\n", argv[0]);
        return 2;
    }
    static const float theta[ELEMENTS] = { 0.8f, -0.3f, 0.5f };
    struct reply region, released;
    int connection = connect_to_hand_off(argv[1]);
    int descriptor = ask(connection, ALLOCATE, 2 * sizeof theta, NULL, &region);
    float *memory = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    close(descriptor); /* The mapping is enough. */

    memcpy(memory, theta, sizeof theta);
    for (size_t i = 0; i < sizeof region.handle; i++)
        printf("%02x", region.handle[i]);
    printf("\n");
    fflush(stdout);

    getchar(); /* Here somebody makes the call, and its answer comes: from then on the result is there. */
    const float *result = memory + ELEMENTS;
    int same = memcmp(memory, theta, sizeof theta) == 0;
    printf("%g %g %g, parameters %s\n", result[0], result[1], result[2], same ? "untouched" : "changed");

    ask(connection, RELEASE, 0, region.handle, &released);
    munmap(memory, region.size);
    close(connection); /* Would have released the region, too. */
    return same ? 0 : 1;
}
