//! What the witnesses say, of what was passed and of what might be taken for it.

use super::*;

#[test]
fn a_witness_that_contradicts_fails_and_one_that_is_silent_does_not() {
    let say = |record: &mut Record, witness, verdict| {
        record.testimonies.get_mut(&"m".into()).unwrap()[0].push(Testimony { witness, verdict });
    };
    assert_fails("kcmp says different", |record, _| {
        say(record, Witness::Kcmp, Verdict::Different);
    });
    assert_fails("offset says different", |record, _| {
        say(record, Witness::Offset, Verdict::Different);
    });
    let (result, _) = spoiled(|record, _| say(record, Witness::Offset, Verdict::Unverified));
    assert_eq!(result, ScenarioResult::Pass);
    // All but the list of descriptors, which is always there.
    let (result, _) = spoiled(|record, _| say(record, Witness::TaskFile, Verdict::Unverified));
    assert_eq!(result, ScenarioResult::Inconclusive);
}

fn mistakable(pointer: Option<u64>) -> Mistakable {
    Mistakable {
        actor: RECEIVER,
        fd: 11,
        message: "m".into(),
        index: 0,
        pointer,
        testimonies: Vec::new(),
    }
}

#[test]
fn another_address_is_another_file_and_the_same_address_settles_nothing() {
    for (pointer, expected, result) in [
        (Some(0xbad), Verdict::Different, ScenarioResult::Pass),
        (
            Some(0xf11e),
            Verdict::Unverified,
            ScenarioResult::Inconclusive,
        ),
        (None, Verdict::Unverified, ScenarioResult::Inconclusive),
    ] {
        let mut record = record();
        record.mistakable.push(mistakable(pointer));
        let outcome = judged(&record, vec![transfer()], true);
        assert_eq!((outcome.mistakable[0], outcome.result), (expected, result));
    }
}

#[test]
fn at_a_reused_address_the_inode_tells_files_apart_and_nothing_makes_them_one() {
    for (ino, expected) in [(8, Verdict::Different), (7, Verdict::Unverified)] {
        let mut record = record();
        record.facts.push(Fact::Sent {
            actor: SENDER,
            message: "n".into(),
            fds: vec![5],
            span: (50, 60),
        });
        record.facts.push(Fact::Received {
            actor: RECEIVER,
            message: "n".into(),
            fds: vec![11],
            span: (70, 80),
            cloexec: vec![false],
            truncated: Some(false),
            truncates: false,
            peek: false,
        });
        record.mistakable.push(mistakable(Some(0xf11e)));
        let mut second = Transfer {
            id: 2,
            message: 2,
            ..transfer()
        };
        second.file.ino = ino;
        second.sender.as_mut().unwrap().fd = Some(5);
        second.sender.as_mut().unwrap().t_ns = 55;
        second.end.receiver_mut().unwrap().fd = Some(11);
        for (hop, t_ns) in second.hops.iter_mut().zip([55, 75, 76]) {
            hop.t_ns = t_ns;
        }
        let outcome = judged(&record, vec![transfer(), second], true);
        assert_eq!(outcome.mistakable, [expected]);
    }
}

#[test]
fn a_witness_that_takes_the_mistakable_for_the_real_one_fails() {
    assert_fails("kcmp says same", |record, _| {
        let testimonies = vec![Testimony {
            witness: Witness::Kcmp,
            verdict: Verdict::Same,
        }];
        record.mistakable.push(Mistakable {
            testimonies,
            ..mistakable(Some(0xbad))
        });
    });
}
