
static void receive_fds(int sock, int name, int room, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
	struct iovec data = { .iov_base = &(char){ 0 }, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = room ? CMSG_LEN(room * sizeof(int)) : 0 }; /* CMSG_SPACE may be room for more */
	int fd, count = 0;

	if (recvmsg(sock, &message, flags) > 0 && CMSG_FIRSTHDR(&message))
		count = (CMSG_FIRSTHDR(&message)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (int i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)) + i * sizeof(int), sizeof(int));
		/* The offset belongs to the open file, and comes along with it. */
		if (lseek(fd, 0, SEEK_CUR) > 0)
			printf("message %d: %d is at offset %ld\n", name, fd, (long)lseek(fd, 0, SEEK_CUR));
	}
	printf("message %d: %d descriptor%s%s%s\n", name, count, count == 1 ? "" : "s",
	       message.msg_flags & MSG_CTRUNC ? ", MSG_CTRUNC" : "", flags ? ", and the message stays" : "");
}
