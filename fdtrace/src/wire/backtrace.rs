//! Backtraces: the kernel functions that were under way as a list ended, and what they are known by.

/// The functions under way, innermost first, without what compilers append to their names.
#[derive(Clone, Debug, Default)]
pub struct Backtrace {
    functions: Vec<String>,
    /// The innermost one is all that is known: nothing can be said of what called it.
    pub(crate) alone: bool,
    /// They were seen, and none of them has a name.
    pub(crate) unnamed: bool,
}

impl Backtrace {
    /// Of these functions, innermost first.
    #[must_use]
    pub fn new(names: impl ExactSizeIterator<Item = Option<String>>) -> Self {
        let plain = |name: String| name.split('.').next().unwrap_or_default().to_owned();
        let is_one = names.len() > 0;
        let functions: Vec<_> = names.flatten().map(plain).collect();
        Self {
            unnamed: is_one && functions.is_empty(),
            functions,
            alone: false,
        }
    }

    /// Of the function that freed an skb, where those around it were not written down.
    #[must_use]
    pub fn by(name: Option<String>) -> Self {
        Self {
            alone: true,
            ..Self::new([name].into_iter())
        }
    }

    /// Whether no function is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    pub(crate) fn times(&self, function: &str) -> usize {
        let functions = self.functions.iter();
        functions.filter(|name| *name == function).count()
    }

    pub(crate) fn any(&self, functions: &[&str]) -> bool {
        functions.iter().any(|function| self.times(function) > 0)
    }

    fn any_begins_with(&self, beginnings: &[&str]) -> bool {
        let begins = |name: &String| beginnings.iter().any(|begin| name.starts_with(begin));
        self.functions.iter().any(begins)
    }

    /// In a program that a sockmap attached, called as data becomes ready.
    pub(crate) fn by_sockmap(&self) -> bool {
        self.any(&["unix_read_skb", "unix_stream_read_skb"]) || self.any_begins_with(&["sk_psock_"])
    }

    /// In a request of io_uring's, which may run inside whatever call the task is in.
    pub(crate) fn in_uring(&self) -> bool {
        self.any_begins_with(&["io_send", "io_issue_sqe", "io_wq_"])
    }

    /// As an skb went away, so the list was still on it.
    pub(crate) fn with_skb(&self) -> bool {
        self.any_begins_with(&["kfree_skb", "__kfree_skb", "skb_release_"])
            || self.any(&[
                "unix_destruct_scm",
                "unix_wfree",
                "consume_skb",
                "sk_skb_reason_drop",
                "__sk_skb_reason_drop",
                "skb_free_datagram",
            ])
    }

    /// In a send that has to give up.
    pub(crate) fn by_sender(&self) -> bool {
        !self.by_sockmap()
            && !self.by_collector()
            && self.any(&["unix_stream_sendmsg", "unix_dgram_sendmsg"])
    }

    /// In the garbage collector: a kworker since 6.1.141 and 6.10; before, whoever closed a socket or
    /// sent on one.
    pub(crate) fn by_collector(&self) -> bool {
        self.any(&["unix_gc", "__unix_gc"])
    }

    /// In a call that has no place for descriptors. io_uring may run a request of its own within
    /// another call, so the innermost counts.
    pub(crate) fn by_plain_read(&self) -> bool {
        const PLAIN: [&str; 3] = ["sock_read_iter", "__sys_recvfrom", "io_recv"];
        const OTHERS: [&str; 5] = [
            "io_recvmsg",
            "____sys_recvmsg",
            "___sys_recvmsg",
            "__sys_recvmsg",
            "do_recvmmsg",
        ];
        let mut names = self.functions.iter().map(String::as_str);
        names
            .find(|name| PLAIN.contains(name) || OTHERS.contains(name))
            .is_some_and(|name| PLAIN.contains(&name))
    }

    /// In a receive that has taken it off its skb.
    pub(crate) fn by_receiver(&self) -> bool {
        let by_skb = self.with_skb() || self.by_sockmap() || self.by_collector();
        !by_skb && (self.by_plain_read() || self.by_recvmsg())
    }

    /// In a call that has a place for descriptors, if its program gave it one.
    pub(crate) fn by_recvmsg(&self) -> bool {
        self.any(&["____sys_recvmsg", "io_recvmsg", "io_recvmsg_multishot"])
    }
}
