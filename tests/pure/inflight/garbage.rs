//! What nobody can get any more, and who can get the rest.

use super::*;

#[test]
fn what_a_held_socket_leads_to_is_no_garbage() {
    // 1 is held and carries 2, which carries 3. 4 and 5 carry each other, and 5 carries 6.
    let census = still(pass(
        vec![
            queue(1, vec![carried(0, 2)]),
            queue(2, vec![carried(0, 3)]),
            queue(3, vec![file(0, "/deep")]),
            queue(4, vec![carried(0, 5)]),
            queue(5, vec![carried(0, 4), carried(1, 6)]),
            queue(6, vec![file(0, "/lost")]),
        ],
        &[1],
    ));
    let garbage: Vec<_> = census
        .holdings
        .iter()
        .filter(|holding| holding.garbage)
        .filter_map(|holding| holding.socket.ino)
        .collect();
    assert_eq!(garbage, [4, 5, 6]);
    let heirs: Vec<u32> = census.heirs_of(2).iter().map(|heir| heir.pid).collect();
    assert_eq!(heirs, [10]);
    assert!(census.heirs_of(0).is_empty(), "it holds that one already");
    assert!(census.heirs_of(5).is_empty());
}

#[test]
fn a_reference_from_elsewhere_keeps_a_cycle_from_being_garbage() {
    let mut pass = pass(
        vec![queue(4, vec![carried(0, 5)]), queue(5, vec![carried(0, 4)])],
        &[],
    );
    assert!(still(pass.clone()).holdings.iter().all(|it| it.garbage));
    // io_uring, or a call in progress.
    pass.queues[0].socket.file_refs = 2;
    assert!(still(pass.clone()).holdings.iter().all(|it| !it.garbage));
    // A socket in two queues has two references from there.
    pass.queues[1].files.push(carried(1, 4));
    assert!(still(pass).holdings.iter().all(|it| it.garbage));
}

#[test]
fn a_connection_belongs_to_whoever_can_accept_it() {
    let mut listener = queue(1, Vec::new());
    listener.socket.listens = true;
    listener.socket.name = Some("/run/app.sock".to_owned());
    let mut embryo = queue(7, vec![file(0, "/early")]);
    embryo.socket.ino = None;
    embryo.socket.file_refs = 0;
    listener.connections = vec![embryo.socket.sock, 0xdead];
    let queues = vec![listener, embryo];

    let census = still(pass(queues.clone(), &[1]));
    assert!(census.holdings[1].unaccepted);
    assert!(!census.holdings[1].garbage);
    assert_eq!(census.heirs_of(1).len(), 1);
    // One whose listener is garbage is garbage itself.
    let mut queues = queues;
    queues.push(queue(3, vec![carried(0, 1)]));
    queues[0].files = Vec::new();
    queues[1].files.push(carried(1, 3));
    let census = still(pass(queues, &[]));
    assert!(census.holdings.iter().all(|holding| holding.garbage));
}
