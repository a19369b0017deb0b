//! Memory that is not what the kernel read or wrote: changed while a call sleeps, unreadable,
//! unwritable, or written by somebody else at the same time.

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Play,
    ends::get_again,
    fault::{PAGE, Pages, Watch},
    letter::{Letter, Slot, send_batch},
    plays,
    ring::Ring,
    stage::{
        Call, Pair, Played, child, close, dup, dup_from, dup2, file, files, is_open, join,
        limit_numbers, relative, wait_until, wait_until_blocked,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    number_changed_while_the_send_sleeps,
    numbers_and_files_swapped_while_the_send_sleeps,
    control_message_taken_away_while_the_send_sleeps,
    number_changed_while_a_sendmmsg_sleeps,
    socket_replaced_while_the_send_sleeps,
    room_taken_away_while_the_receive_sleeps,
    room_taken_away_by_a_process_with_the_same_memory,
    room_enlarged_while_the_receive_sleeps,
    header_dropped_while_the_receive_sleeps,
    header_paged_out_while_the_receive_sleeps,
    number_moved_before_the_receive_returns,
    number_copied_before_the_receive_returns,
    number_closed_before_the_receive_returns,
    number_replaced_before_the_receive_returns,
    file_gone_before_the_receive_returns,
    control_message_overwritten_before_the_receive_returns,
    control_message_and_numbers_gone_before_the_receive_returns,
    hole_made_while_recvmsg_copies_data,
    hole_made_while_recvmmsg_copies_data,
    hole_made_while_a_ring_copies_data,
    duplicate_made_where_the_message_had_no_room,
    header_cannot_be_written,
    header_cannot_be_touched,
    number_cannot_be_written,
    second_number_cannot_be_written,
    buffer_was_never_touched,
    rest_of_the_buffer_was_never_touched,
    old_numbers_in_the_buffer,
    other_descriptors_come_between,
    numbers_overwritten_as_they_are_written,
    refusals_written_over_numbers,
];

/// Lets `sender` send from a full queue, does something once it sleeps, and says what came.
fn send_from_a_full_queue(
    pair: Pair,
    call: i64,
    send: impl FnOnce() -> nix::Result<usize> + Send + 'static,
    meanwhile: impl FnOnce(),
) -> Vec<i32> {
    pair.fill();
    let sending = Call::blocked_in(call, send);
    meanwhile();
    let numbers = pair.take();
    sending.end().expect("there is room at last");
    numbers
}

/// The number in the message becomes another one of the same file, after the kernel read it.
fn number_changed_while_the_send_sleeps() -> Played {
    let (pair, file) = (Pair::datagram(), file());
    let other = dup(file);
    let sent = Sent::under(file);
    let letter = Letter::with(&[file]);
    let send = move || letter.send(pair.sender);
    let came = send_from_a_full_queue(pair, libc::SYS_sendmsg, send, || letter.slot(0).set(other));
    sent.delivered(came[0]);
    Ok(())
}

/// So do two numbers, and their files are swapped too: both answers look right.
fn numbers_and_files_swapped_while_the_send_sleeps() -> Played {
    let (pair, one, two) = (Pair::datagram(), file(), file());
    let (first, second) = (Sent::under(one), Sent::under(two));
    let letter = Letter::with(&[one, two]);
    let send = move || letter.send(pair.sender);
    let came = send_from_a_full_queue(pair, libc::SYS_sendmsg, send, || {
        let (spare, other) = (dup(one), dup(two));
        dup2(other, one);
        dup2(spare, two);
        close(spare);
        close(other);
        letter.slot(0).set(two);
        letter.slot(1).set(one);
    });
    first.delivered(came[0]);
    second.delivered(came[1]);
    Ok(())
}

fn control_message_taken_away_while_the_send_sleeps() -> Played {
    let (pair, file) = (Pair::datagram(), file());
    let sent = Sent::under(file);
    let letter = Letter::with(&[file]);
    let send = move || letter.send(pair.sender);
    let came = send_from_a_full_queue(pair, libc::SYS_sendmsg, send, || letter.set_control_len(0));
    sent.delivered(came[0]);
    Ok(())
}

fn number_changed_while_a_sendmmsg_sleeps() -> Played {
    let (pair, file) = (Pair::datagram(), file());
    let other = dup(file);
    let sent = Sent::under(file);
    let letter = Letter::with(&[file]);
    let send = move || {
        send_batch(pair.sender, &[letter]);
        Ok(1)
    };
    let change = || letter.slot(0).set(other);
    let came = send_from_a_full_queue(pair, libc::SYS_sendmmsg, send, change);
    sent.delivered(came[0]);
    Ok(())
}

/// What the sending call's number means is another socket when the call goes on.
fn socket_replaced_while_the_send_sleeps() -> Played {
    let (pair, other, file) = (Pair::datagram(), Pair::datagram(), file());
    let sent = Sent::under(file);
    let letter = Letter::with(&[file]);
    let send = move || letter.send(pair.sender);
    let replace = || dup2(other.sender, pair.sender);
    let came = send_from_a_full_queue(pair, libc::SYS_sendmsg, send, replace);
    sent.delivered(came[0]);
    Ok(())
}

/// The header says that there is no room, when the call has long read that there is.
fn room_taken_away_while_the_receive_sleeps() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let letter = Letter::room(4);
    let receiving = Call::blocked_in(libc::SYS_recvmsg, move || letter.receive(pair.receiver, 0));
    letter.set_control_len(0);
    pair.send(file);
    receiving.end().expect("it comes");
    Sent::under(file).delivered(letter.slot(0).get());
    Ok(())
}

/// The same by one who has this process's memory, and a table of its own.
fn room_taken_away_by_a_process_with_the_same_memory() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let letter = Letter::room(4);
    let receiver = nix::unistd::gettid().as_raw();
    let (reader, writer) = super::stage::pipe();
    let sender = child(|| {
        super::stage::await_byte(reader);
        pair.send(file);
    });
    let sent = Sent::under(file).by(sender.as_raw());
    close(file);
    let helper = relative(libc::CLONE_VM, move || {
        wait_until_blocked(receiver, libc::SYS_recvmsg);
        letter.set_control_len(0);
        super::stage::give_byte(writer);
    });
    letter.receive(pair.receiver, 0).expect("it comes");
    sent.delivered(letter.slot(0).get());
    join(sender);
    join(helper);
    Ok(())
}

/// The header says that there is more room than there was.
fn room_enlarged_while_the_receive_sleeps() -> Played {
    let (pair, one, two) = (Pair::stream(), file(), file());
    let letter = Letter::exactly(1);
    let receiving = Call::blocked_in(libc::SYS_recvmsg, move || letter.receive(pair.receiver, 0));
    letter.set_control_len(128);
    pair.send_all(&[one, two]);
    receiving.end().expect("it comes");
    Sent::under(one).delivered(letter.slot(0).get());
    Sent::under(two).ended("truncated", &["no-control-room"]);
    Ok(())
}

/// Nothing changes, but the header's page is no longer there to be read.
fn header_dropped_while_the_receive_sleeps() -> Played {
    let pages = Pages::mapped(1, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1);
    receive_with_header_at(pages, move || {
        // SAFETY: what is shared comes back when it is touched.
        unsafe { libc::madvise(pages.at(0).cast(), PAGE, libc::MADV_DONTNEED) };
    })
}

fn header_paged_out_while_the_receive_sleeps() -> Played {
    let mapped = super::stage::open("header", libc::O_RDWR);
    // SAFETY: it is a file of the play's own.
    super::stage::check(unsafe { libc::ftruncate(mapped, PAGE as i64) }).expect("there is room");
    let pages = Pages::mapped(1, libc::MAP_SHARED, mapped);
    let result = receive_with_header_at(pages, move || {
        // SAFETY: it is a file of the play's own; a kernel that does not know it leaves the page
        // there.
        unsafe { libc::madvise(pages.at(0).cast(), PAGE, libc::MADV_PAGEOUT) };
    });
    std::fs::remove_file("header").expect("it is there");
    result
}

/// Receives with the header there; `drop` has the memory, and not the table.
fn receive_with_header_at(pages: Pages, drop: impl FnOnce() + 'static) -> Played {
    let (pair, file) = (Pair::stream(), file());
    let letter = Letter::room(4);
    let header: *mut libc::msghdr = pages.at(0).cast();
    // SAFETY: a page has room for a header.
    unsafe { header.write(letter.header().read()) };
    let receiver = nix::unistd::gettid().as_raw();
    let helper = relative(libc::CLONE_VM, move || {
        wait_until_blocked(receiver, libc::SYS_recvmsg);
        drop();
        pair.send(file);
    });
    let sent = Sent::under(file).by(helper.as_raw());
    close(file);
    // SAFETY: the header is a copy of the letter's, whose buffers stay.
    unsafe {
        assert_eq!(libc::recvmsg(pair.receiver, header, 0), 1);
        letter.header().write(header.read());
    }
    sent.delivered(letter.numbers()[0]);
    join(helper);
    Ok(())
}

/// A receive that stands still after the file has its number, for the control message's header is
/// on a page that is not there; `meanwhile` gets where the number was written.
fn stand_still_after_the_number(meanwhile: impl FnOnce(Slot)) -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(2);
    pages.touch(1);
    let watch = Watch::on(pages.at(0), 1)?;
    let sent = Sent::under(file);
    pair.send(file);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 24);
    let receiving = Call::begin(move || letter.receive(pair.receiver, 0));
    watch.wait();
    let slot = Slot::of(pages.at(PAGE));
    let number = slot.get();
    meanwhile(slot);
    watch.release(pages.at(0));
    receiving.end().expect("it comes");
    sent.delivered(number);
    Ok(())
}

fn number_moved_before_the_receive_returns() -> Played {
    stand_still_after_the_number(|slot| {
        let moved = dup_from(slot.get(), slot.get() + 5);
        close(slot.get());
        slot.set(moved);
    })
}

/// Both numbers are open, and memory names the wrong one.
fn number_copied_before_the_receive_returns() -> Played {
    stand_still_after_the_number(|slot| slot.set(dup_from(slot.get(), slot.get() + 5)))
}

/// It is closed, and a duplicate lives under another number.
fn number_closed_before_the_receive_returns() -> Played {
    stand_still_after_the_number(|slot| {
        dup_from(slot.get(), slot.get() + 5);
        close(slot.get());
    })
}

fn number_replaced_before_the_receive_returns() -> Played {
    stand_still_after_the_number(|slot| {
        let other = file();
        dup2(other, slot.get());
        close(other);
    })
}

fn file_gone_before_the_receive_returns() -> Played {
    stand_still_after_the_number(|slot| close(slot.get()))
}

/// A receive of so many files and one more, for which there is no room. The control message's length is
/// written last, and by then the message has become another kind's: the buffer tells of no number.
/// `meanwhile` gets those that were.
fn overwrite_the_control_message(room: usize, meanwhile: impl Fn(i32)) -> Played {
    let (pair, files) = (Pair::stream(), files(room + 1));
    let pages = Pages::new(2);
    pages.touch(1);
    let watch = Watch::on(pages.at(0), 1)?;
    let mut sent: Vec<Sent> = files.iter().copied().map(Sent::under).collect();
    pair.send_all(&files);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 8), 16 + 4 * room);
    let receiving = Call::begin(move || letter.receive(pair.receiver, 0));
    watch.wait();
    let numbers = (0..room).map(|index| Slot::of(pages.at(PAGE + 8 + 4 * index)).get());
    let numbers: Vec<i32> = numbers.collect();
    Slot::of(pages.at(PAGE + 4)).set(0);
    numbers.iter().copied().for_each(meanwhile);
    watch.release(pages.at(0));
    receiving.end().expect("it comes");
    let last = sent.pop().expect("one more");
    last.ended("truncated", &["no-control-room"]);
    for (sent, number) in sent.into_iter().zip(numbers) {
        sent.delivered(number);
    }
    Ok(())
}

fn control_message_overwritten_before_the_receive_returns() -> Played {
    overwrite_the_control_message(1, |_| {})
}

fn control_message_and_numbers_gone_before_the_receive_returns() -> Played {
    overwrite_the_control_message(2, close)
}

/// A receive that stands still after it took the message, for its data goes to a page that is not
/// there; meanwhile the lowest number, which is the file's already, becomes free: it is not new.
fn make_a_hole(receive: impl FnOnce(Letter, i32) -> nix::Result<usize> + Send + 'static) -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(1);
    let watch = Watch::on(pages.at(0), 1)?;
    let hole = dup(file);
    pair.send(file);
    let letter = Letter::room(4);
    letter.set_data(pages.at(0).cast(), 10);
    let receiving = Call::begin(move || receive(letter, pair.receiver));
    watch.wait();
    close(hole);
    watch.release(pages.at(0));
    receiving.end().expect("it comes");
    Sent::under(file).delivered(letter.numbers()[0]);
    Ok(())
}

fn hole_made_while_recvmsg_copies_data() -> Played {
    make_a_hole(|letter, socket| letter.receive(socket, 0))
}

fn hole_made_while_recvmmsg_copies_data() -> Played {
    make_a_hole(Letter::receive_by_recvmmsg)
}

fn hole_made_while_a_ring_copies_data() -> Played {
    let mut ring = Ring::new(8)?;
    make_a_hole(move |letter, socket| {
        ring.receive_by_worker(letter, socket);
        Ok(ring.end() as usize)
    })
}

/// One file twice, with room for one; what shows beside it is another thread's duplicate.
fn duplicate_made_where_the_message_had_no_room() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(2);
    pages.touch(1);
    let watch = Watch::on(pages.at(0), 1)?;
    pair.send_all(&[file, file]);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 20);
    let receiving = Call::begin(move || letter.receive_by_recvmmsg(pair.receiver));
    watch.wait();
    let number = Slot::of(pages.at(PAGE)).get();
    dup(number);
    watch.release(pages.at(0));
    receiving.end().expect("it comes");
    Sent::under(file).delivered(number);
    Sent::under(file).ended("truncated", &["no-control-room"]);
    Ok(())
}

/// Receives into a buffer whose header is on a page with this access; the number is beyond it.
fn receive_with_header_of(access: i32) -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(2);
    pages.touch(0);
    pages.touch(1);
    pages.protect(0, access);
    pair.send(file);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 24);
    letter.receive(pair.receiver, 0).expect("it comes");
    let number = Slot::of(pages.at(PAGE)).get();
    assert!(is_open(number), "the kernel installed it without a word");
    Sent::under(file).delivered(number);
    Ok(())
}

/// The descriptor is installed, and nobody tells the receiver.
fn header_cannot_be_written() -> Played {
    receive_with_header_of(libc::PROT_READ)
}

fn header_cannot_be_touched() -> Played {
    receive_with_header_of(libc::PROT_NONE)
}

/// Causes of a descriptor that is not installed because its number cannot be written. It is neither
/// a security module's doing nor a lack of room.
const UNWRITABLE: &[&str] = &["efault"];

/// Nothing is installed: the kernel gives the number up again.
fn number_cannot_be_written() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(2);
    pages.touch(0);
    pages.protect(1, libc::PROT_NONE);
    pair.send(file);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 24);
    letter.receive(pair.receiver, 0).expect("it comes");
    Sent::under(file).ended("truncated|refused|discarded", UNWRITABLE);
    Ok(())
}

/// The first is delivered.
fn second_number_cannot_be_written() -> Played {
    let (pair, one, two) = (Pair::stream(), file(), file());
    let pages = Pages::new(2);
    pages.touch(0);
    pages.protect(1, libc::PROT_NONE);
    pair.send_all(&[one, two]);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 20), 24);
    letter.receive(pair.receiver, 0).expect("it comes");
    Sent::under(one).delivered(Slot::of(pages.at(PAGE - 4)).get());
    Sent::under(two).ended("truncated|refused|discarded", UNWRITABLE);
    Ok(())
}

/// The buffer is on a page that nobody has touched yet: the kernel writes, and nothing can be read
/// before it did.
fn buffer_was_never_touched() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let pages = Pages::new(1);
    pair.send(file);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(0), 24);
    letter.receive(pair.receiver, 0).expect("it comes");
    Sent::under(file).delivered(letter.numbers()[0]);
    Ok(())
}

/// The number is the last thing on its page, and beyond it the buffer is what nobody has touched, nor
/// will.
fn rest_of_the_buffer_was_never_touched() -> Played {
    let (pair, file, pages) = (Pair::stream(), file(), Pages::new(2));
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 20), 64);
    let receiving = Call::blocked_in(libc::SYS_recvmsg, move || letter.receive(pair.receiver, 0));
    pair.send(file);
    receiving.end().expect("it comes");
    Sent::under(file).delivered(Slot::of(pages.at(PAGE - 4)).get());
    Ok(())
}

/// The buffer lists numbers of an earlier message beyond what this one has room for.
fn old_numbers_in_the_buffer() -> Played {
    let (pair, one, two) = (Pair::stream(), file(), file());
    let letter = Letter::exactly(1);
    letter.slot(0).set(two + 1);
    letter.slot(1).set(two + 2);
    pair.send_all(&[one, two]);
    letter.receive(pair.receiver, 0).expect("it comes");
    Sent::under(one).delivered(letter.numbers()[0]);
    Sent::under(two).ended("truncated", &["no-control-room"]);
    Ok(())
}

/// While a receive of three stands between its numbers, others get descriptors by `pidfd_getfd` and
/// from messages of their own.
fn other_descriptors_come_between() -> Played {
    let (pair, other) = (Pair::stream(), file());
    let list = files(3);
    let pages = Pages::new(2);
    let watch = Watch::on(pages.at(0), 2)?;
    watch.release(pages.at(0));
    pair.send_all(&list);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 28);
    let receiving = Call::begin(move || letter.receive(pair.receiver, 0));
    watch.wait();
    (0..5).for_each(|_| get_again(other));
    let between = Pair::stream();
    for fd in [other, file(), file()] {
        Sent::under(fd).delivered(between.pass(fd));
    }
    watch.release(pages.at(PAGE));
    receiving.end().expect("it comes");
    for (index, fd) in list.into_iter().enumerate() {
        Sent::under(fd).delivered(Slot::of(pages.at(PAGE + 4 * index)).get());
    }
    Ok(())
}

/// One file eight times, while another thread writes `lie` over each number as soon as it is there.
/// In truth they are the lowest numbers that are free, in their order.
fn overwrite_numbers(lie: impl FnOnce(i32) -> i32) -> Played {
    const LIST: usize = 8;
    limit_numbers(4096);
    let (pair, file) = (Pair::stream(), file());
    let lie = lie(file);
    let letter = Letter::exactly(LIST);
    let [begun, ended] = [false; 2].map(|it| Arc::new(AtomicBool::new(it)));
    let writing = Call::begin({
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        move || {
            // A thread that has just begun may open files, for its allocator's sake.
            begun.store(true, Ordering::Release);
            while !ended.load(Ordering::Relaxed) {
                let slots = (0..LIST).map(|index| letter.slot(index));
                let written = slots.filter(|slot| ![-77, lie].contains(&slot.get()));
                written.for_each(|slot| slot.set(lie));
                hint::spin_loop();
            }
        }
    });
    wait_until("it writes", || begun.load(Ordering::Acquire));
    for _ in 0..100 {
        (0..LIST).for_each(|index| letter.slot(index).set(-77));
        letter.set_control_len(16 + 4 * LIST);
        pair.send_all(&[file; LIST]);
        let new: Vec<i32> = (0..).filter(|fd| !is_open(*fd)).take(LIST).collect();
        letter.receive(pair.receiver, 0).expect("it comes");
        for fd in new {
            Sent::under(file).delivered(fd);
            close(fd);
        }
    }
    ended.store(true, Ordering::Relaxed);
    writing.end();
    Ok(())
}

/// The lie is another number of the same file.
fn numbers_overwritten_as_they_are_written() -> Played {
    overwrite_numbers(|file| dup_from(file, 500))
}

/// The lie is what a security module's refusal looks like.
fn refusals_written_over_numbers() -> Played {
    overwrite_numbers(|_| -libc::EACCES)
}
