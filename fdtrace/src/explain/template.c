/* @NAME@: @ABOUT@
 * As fdtrace saw it, in C:  cc -Wall -o pass pass.c && ./pass */
#define _GNU_SOURCE
@INCLUDES@

static void send_fds(int sock, const int *fds, int count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
	if (sendmsg(sock, &message, 0) < 0)
		perror("sendmsg");
	for (int i = 0; i < count; i++)
		close(fds[i]);	/* The message holds the files by now. */
}
@HELPERS@
int main(void)
{
	int ends[2];

	socketpair(AF_UNIX, @TYPE@, 0, ends);
@SEND@
	if (fork() == 0) {
		close(ends[0]);
@RECEIVE@
		return 0;
	}
	close(ends[1]);
	wait(NULL);
}
