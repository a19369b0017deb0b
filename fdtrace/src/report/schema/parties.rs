//! Parties: who sent and who received. serde's own way of making one object of several goes through a map
//! of any keys; each transfer has two of these, so they are written field by field.

use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::model::{self, Digits};

/// The sending side.
#[derive(Debug, JsonSchema)]
pub struct Sender<'a> {
    /// Who it was, and under which number.
    #[serde(flatten)]
    pub seen: &'a model::Sender,
    /// What else is known of it.
    #[serde(flatten)]
    pub task: Task,
}

/// The receiving side.
#[derive(Debug, JsonSchema)]
pub struct Receiver<'a> {
    /// Who it was, and under which number.
    #[serde(flatten)]
    pub seen: &'a model::Receiver,
    /// What else is known of it.
    #[serde(flatten)]
    pub task: Task,
}

/// What tells a task from others; each is absent where it is not known.
#[derive(Debug, Default, JsonSchema)]
pub struct Task {
    /// The program that it runs, as in `/proc/PID/exe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Effective user id, in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Id of its cgroup (version 2): the inode number of the cgroup's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<Digits>,
    /// Path of its cgroup, below the place where cgroups are mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The systemd unit that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Serialize for Sender<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model::Sender {
            pid,
            tid,
            comm,
            fd,
            socket_fd,
            t_ns: _,
        } = self.seen;
        let mut fields = serializer.serialize_struct("Sender", 5 + Task::FIELDS)?;
        fields.serialize_field("pid", pid)?;
        fields.serialize_field("tid", tid)?;
        fields.serialize_field("comm", comm)?;
        fields.serialize_field("fd", fd)?;
        fields.serialize_field("socket_fd", socket_fd)?;
        self.task.add_to(&mut fields)?;
        fields.end()
    }
}

impl Serialize for Receiver<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model::Receiver {
            pid,
            tid,
            comm,
            fd,
            cloexec,
            fd_inferred,
        } = self.seen;
        let mut fields = serializer.serialize_struct("Receiver", 6 + Task::FIELDS)?;
        fields.serialize_field("pid", pid)?;
        fields.serialize_field("tid", tid)?;
        fields.serialize_field("comm", comm)?;
        fields.serialize_field("fd", fd)?;
        fields.serialize_field("cloexec", cloexec)?;
        fields.serialize_field("fd_inferred", fd_inferred)?;
        self.task.add_to(&mut fields)?;
        fields.end()
    }
}

impl Task {
    const FIELDS: usize = 6;

    /// Writes what is known.
    fn add_to<S: SerializeStruct>(&self, fields: &mut S) -> Result<(), S::Error> {
        let Self {
            exe,
            uid,
            cgroup_id,
            cgroup,
            container,
            unit,
        } = self;
        add(fields, "exe", exe)?;
        add(fields, "uid", uid)?;
        add(fields, "cgroup_id", cgroup_id)?;
        add(fields, "cgroup", cgroup)?;
        add(fields, "container", container)?;
        add(fields, "unit", unit)
    }
}

fn add<S: SerializeStruct>(
    fields: &mut S,
    name: &'static str,
    known: &Option<impl Serialize>,
) -> Result<(), S::Error> {
    match known {
        Some(known) => fields.serialize_field(name, known),
        None => fields.skip_field(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_schema_has_is_written() {
        let task = || Task {
            exe: Some("/bin/a".to_owned()),
            uid: Some(1),
            cgroup_id: Some(Digits(2)),
            cgroup: Some("/b".to_owned()),
            container: Some("c".to_owned()),
            unit: Some("d".to_owned()),
        };
        let sender = model::Sender {
            pid: 1,
            tid: None,
            comm: "a".into(),
            fd: None,
            socket_fd: None,
            t_ns: 3,
        };
        let receiver = model::Receiver {
            pid: 1,
            tid: 1,
            comm: "a".into(),
            fd: None,
            cloexec: None,
            fd_inferred: false,
        };
        let sender = Sender {
            seen: &sender,
            task: task(),
        };
        let receiver = Receiver {
            seen: &receiver,
            task: task(),
        };
        for (written, schema) in [
            (serde_json::to_value(sender), schemars::schema_for!(Sender)),
            (
                serde_json::to_value(receiver),
                schemars::schema_for!(Receiver),
            ),
        ] {
            let written = written.unwrap();
            let written: Vec<&String> = written.as_object().unwrap().keys().collect();
            let schema = schema.to_value();
            let promised = schema["properties"].as_object().unwrap();
            assert_eq!(written, promised.keys().collect::<Vec<_>>());
        }
    }
}
