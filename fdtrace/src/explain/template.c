/*
 * @NAME@: @ABOUT@
 *
 * The sender and the receiver as fdtrace saw them, in C:
 *	cc -Wall -o pass pass.c && ./pass
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 253	/* SCM_MAX_FD: what one message carries at most */

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

/* The offset belongs to the file, not to the number: the receiver will find it here. */
__attribute__((unused)) static int at_42(int fd)
{
	check(lseek(fd, 42, SEEK_SET), "lseek");
	return fd;
}

__attribute__((unused)) static int a_file(void)
{
	char name[] = "/tmp/passed-XXXXXX";
	int fd = check(mkstemp(name), "mkstemp");

	unlink(name);
	return at_42(fd);
}

__attribute__((unused)) static int a_memfd(void)
{
	return at_42(check(memfd_create("passed", 0), "memfd_create"));
}

__attribute__((unused)) static int a_signalfd(void)
{
	sigset_t none;

	sigemptyset(&none);
	return check(signalfd(-1, &none, 0), "signalfd");
}

__attribute__((unused)) static int a_pipe(void)
{
	int ends[2];

	check(pipe(ends), "pipe");
	close(ends[1]);
	return ends[0];
}

static void send_fds(int sock, const int *fds, int count)
{
	union {
		char room[CMSG_SPACE(MOST * sizeof(int))];
		struct cmsghdr aligned;
	} control;
	char byte = 'x';
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *rights;

	memset(&control, 0, sizeof(control));
	rights = CMSG_FIRSTHDR(&message);
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
	check(sendmsg(sock, &message, 0), "sendmsg");
}

/* Receives a message with room for so many descriptors, and shows what came. */
__attribute__((unused)) static void receive_fds(int sock, int name, int room, int flags)
{
	union {
		char room[CMSG_SPACE(MOST * sizeof(int))];
		struct cmsghdr aligned;
	} control;
	char byte;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = room ? control.room : NULL,
		/* CMSG_LEN, for CMSG_SPACE may round up to room for one more. */
		.msg_controllen = room ? CMSG_LEN(room * sizeof(int)) : 0,
	};
	struct cmsghdr *rights;
	int count = 0;

	check(recvmsg(sock, &message, flags), "recvmsg");
	for (rights = CMSG_FIRSTHDR(&message); rights; rights = CMSG_NXTHDR(&message, rights)) {
		if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
			continue;
		count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (int i = 0; i < count; i++) {
			struct stat is;
			int fd;

			memcpy(&fd, CMSG_DATA(rights) + i * sizeof(int), sizeof(int));
			check(fstat(fd, &is), "fstat");
			printf("message %d: %d is inode %llu", name, fd,
			       (unsigned long long)is.st_ino);
			if (S_ISREG(is.st_mode))
				printf(", at offset %lld", (long long)lseek(fd, 0, SEEK_CUR));
			printf("\n");
		}
	}
	printf("message %d: %d descriptor%s%s%s\n", name, count, count == 1 ? "" : "s",
	       message.msg_flags & MSG_CTRUNC ? ", MSG_CTRUNC" : "",
	       flags & MSG_PEEK ? ", and the message stays" : "");
}

/* read() has no place for descriptors: they are lost, and it does not say so. */
__attribute__((unused)) static void read_bytes(int sock, int name)
{
	char byte;
	int count = check(read(sock, &byte, 1), "read");

	printf("message %d: read() took %d byte, and no descriptor\n", name, count);
}

/* Leaves so many numbers free. */
__attribute__((unused)) static void leave_free(int count)
{
	int lowest = check(dup(0), "dup");
	struct rlimit limit = { .rlim_cur = lowest + count, .rlim_max = lowest + count };

	close(lowest);
	check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

static void sender(int sock)
{
@SEND@
}

static void receiver(int sock)
{
@RECEIVE@
}

int main(void)
{
	int ends[2], sent[2];
	char nothing;
	pid_t child;

	setvbuf(stdout, NULL, _IOLBF, 0);
	check(socketpair(AF_UNIX, @TYPE@, 0, ends), "socketpair");
	check(pipe(sent), "pipe");
	child = check(fork(), "fork");
	if (child == 0) {
		close(ends[0]);
		close(sent[1]);
		/* Until then, what was sent is in the queue and in nobody's table. */
		while (read(sent[0], &nothing, 1) > 0)
			;
		receiver(ends[1]);
		exit(0);
	}
	close(ends[1]);
	sender(ends[0]);
	close(sent[1]);
	waitpid(child, NULL, 0);
	return 0;
}
