//! What may be missing from a census, and how that is said.

use super::*;

/// What was in the way of knowing all that is in flight.
#[test]
fn a_census_is_complete_only_if_nothing_can_be_missing() {
    let whole = Pass {
        counted_by_user: Some(2),
        ..pass(vec![queue(1, vec![file(0, "/a"), file(1, "/b")])], &[1])
    };
    assert!(still(whole.clone()).is_complete());
    assert!(still(Pass::default()).is_complete());
    let uncounted = Pass {
        counted_by_user: None,
        ..whole.clone()
    };
    assert!(still(uncounted).is_complete());

    let changes: [fn(&mut Pass); 7] = [
        |pass| pass.gaps.restless = 1,
        |pass| pass.gaps.long_queues = 1,
        |pass| pass.gaps.too_many_files = 1,
        |pass| pass.gaps.namespaces = 1,
        |pass| pass.gaps.unlisted = true,
        |pass| pass.queues[0].socket.scm_fds = 3,
        |pass| pass.counted_by_user = Some(3),
    ];
    for change in changes {
        let mut pass = whole.clone();
        change(&mut pass);
        assert!(!still(pass.clone()).is_complete(), "{pass:?}");
    }
    // Something came; what went is in flight no more.
    let mut less = whole.clone();
    less.queues[0].files.pop();
    assert!(!Census::of(&less, whole.clone()).is_complete());
    less.queues[0].socket.scm_fds = 1;
    let went = Census::of(&whole, less);
    assert!(went.is_complete());
    // The count by user is of another moment then.
    assert_eq!(went.counted_by_user, None);
}

#[test]
fn each_gap_is_put_into_words() {
    assert_eq!(Gaps::default().described(), None);
    let gaps = Gaps {
        namespaces: 2,
        unlisted: true,
        ..Gaps::default()
    };
    let described = gaps.described();
    let described = described.as_deref().unwrap();
    assert!(described.contains("2 network namespaces kept changing"));
    assert!(described.contains("sockets that no process holds"));
}
