/* A 32-bit process without a C library: passes its standard error over its standard input, or,
 * with an argument, receives a descriptor there and prints its number. */
struct iovec { void *base; unsigned len; };
struct msghdr { void *name; unsigned namelen; struct iovec *iov; unsigned iovlen;
                void *control; unsigned controllen; unsigned flags; };
struct rights { unsigned len, level, type; int fd; };

#ifdef __arm__
enum { SENDMSG = 296, RECVMSG = 297 };

static int call(int number, int a, void *b, int c)
{
    register int r7 __asm__("r7") = number;
    register int r0 __asm__("r0") = a;
    register void *r1 __asm__("r1") = b;
    register int r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}

__asm__(".globl _start\n_start: ldr r0, [sp]\n bl run\n");
#define ENTRY
#else
enum { SENDMSG = 370, RECVMSG = 372 };

static int call(int number, int a, void *b, int c)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

__asm__(".globl _start\n_start: pushl (%esp)\n call run\n");
#define ENTRY force_align_arg_pointer,
#endif

__attribute__((ENTRY used)) static void run(int argc)
{
    enum { EXIT = 1, WRITE = 4, SOL_SOCKET = 1, SCM_RIGHTS = 1 };
    char data = 'x';
    struct iovec iov = { &data, 1 };
    struct rights rights = { sizeof rights, SOL_SOCKET, SCM_RIGHTS, 2 };
    struct msghdr message = { 0, 0, &iov, 1, &rights, sizeof rights, 0 };
    int done = call(argc > 1 ? RECVMSG : SENDMSG, 0, &message, 0);
    if (done == 1 && argc > 1) {
        char digit = '0' + rights.fd;
        done = call(WRITE, 1, &digit, 1);
    }
    call(EXIT, done != 1, 0, 0);
}
