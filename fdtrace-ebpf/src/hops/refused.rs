//! What a failed send had to do with: where it was to go, how full that was, and what its user has in flight.
//! Only sends with descriptors that fail come here.

use crate::{
    describe,
    emit::Scratch,
    kernel::{Msghdr, Pointer, Sock, Task, namespace::User},
};

/// Writes it ahead of the record that `scratch` is, of which list, time and thread are known.
#[inline(always)]
pub(super) fn tell(
    scratch: &Scratch,
    task: Task,
    sender: Sock<impl Pointer>,
    message: Option<Msghdr<impl Pointer>>,
) {
    let elsewhere = message.map_or((0, 0), Msghdr::name);
    let user = User::of_task(task.address());
    describe::refused(scratch, |seen| {
        // SAFETY: there is room for it.
        unsafe {
            sender.describe_refusal(seen, elsewhere);
            (*seen).uid = user.uid();
            (*seen).in_flight = user.in_flight();
            (*seen).user_read = u16::from(user.0 != 0);
            (*seen).kind = sender.kind();
            (*seen).in_flight_limit = task.descriptor_limit();
        }
    });
}
