//! The JSON contract as tests hold it: whether a line is what `fdtrace schema` says, and which
//! fields users were promised by name.
//!
//! The checker knows the few keywords that the schema is made of and refuses any other, so it
//! cannot pass what it does not understand. The validators on crates.io bring some forty crates
//! each, a third of what all of fdtrace has.

use serde_json::{Map, Value};

/// What the design promises of each type of line; `a.b` is a field of a field.
pub const PROMISED: &[(&str, &[&str])] = &[
    (
        "start",
        &[
            "schema_version",
            "fdtrace",
            "kernel",
            "arch",
            "host",
            "boot_id",
            "wall_ns",
            "mono_ns",
            "plan",
        ],
    ),
    (
        "hop",
        &[
            "transfer", "hop", "t_ns", "cpu", "pid", "tid", "comm", "file", "skb", "fpl", "refs",
        ],
    ),
    (
        "transfer",
        &[
            "id",
            "message",
            "index",
            "count",
            "way",
            "file.ptr",
            "file.kind",
            "file.dev",
            "file.ino",
            "file.path",
            "file.description",
            "file.deleted",
            "file.flags",
            "sender.pid",
            "sender.tid",
            "sender.comm",
            "sender.fd",
            "sender.socket_fd",
            "receiver.pid",
            "receiver.tid",
            "receiver.comm",
            "receiver.fd",
            "receiver.cloexec",
            "socket.type",
            "socket.path",
            "socket.sender_ino",
            "socket.receiver_ino",
            "fate",
            "cause",
            "verdict",
            "doubt",
            "queued_ns",
            "total_ns",
            "hops",
            "missing",
        ],
    ),
    (
        "scenario",
        &["name", "result", "reason", "transfers", "witnesses"],
    ),
    (
        "summary",
        &[
            "fates",
            "verdicts",
            "lost_events",
            "recursion_misses",
            "exit_code",
        ],
    ),
];

/// The field at a dotted path.
pub fn field<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, name| value.get(name))
}

/// Where a check begins.
const LINE: &str = "line";

/// A JSON Schema of the kind that fdtrace prints.
pub struct Schema(Value);

impl Schema {
    /// From what `fdtrace schema` prints.
    pub fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the schema is JSON"))
    }

    /// What is wrong with `value`, a line each; fields that no schema declares are wrong too.
    pub fn violations(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(&self.0, value, LINE, &mut found);
        found
    }

    /// Checks JSON Lines, and that there is at least one.
    pub fn assert_lines(&self, text: &str) -> Vec<Value> {
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        assert!(!lines.is_empty(), "there is no line");
        for line in &lines {
            let violations = self.violations(line);
            assert!(violations.is_empty(), "{violations:#?} in {line}");
        }
        lines
    }

    fn resolve(&self, reference: &Value) -> &Value {
        let name = reference
            .as_str()
            .and_then(|text| text.strip_prefix("#/$defs/"));
        let name = name.unwrap_or_else(|| panic!("the reference {reference} leads elsewhere"));
        field(&self.0["$defs"], name).unwrap_or_else(|| panic!("nothing defines {name}"))
    }

    /// Every property that this schema and what it refers to declare.
    fn declared(&self, schema: &Value) -> Map<String, Value> {
        let mut all = Map::new();
        if let Some(reference) = schema.get("$ref") {
            all.extend(self.declared(self.resolve(reference)));
        }
        if let Some(properties) = schema["properties"].as_object() {
            all.extend(properties.clone());
        }
        all
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        for (keyword, argument) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "format" => {}
                "$ref" => self.check(self.resolve(argument), value, at, found),
                "type" => {
                    let types = argument
                        .as_array()
                        .map_or(vec![argument], |it| it.iter().collect());
                    if !types.iter().any(|ty| is(value, ty.as_str())) {
                        found.push(format!("{at} is {value}, not {argument}"));
                    }
                }
                "enum" => {
                    if !argument
                        .as_array()
                        .is_some_and(|values| values.contains(value))
                    {
                        found.push(format!("{at} is {value}, none of {argument}"));
                    }
                }
                "pattern" => {
                    if let Some(text) = value.as_str().filter(|text| !matches(text, argument)) {
                        found.push(format!("{at} is {text:?}, not {argument}"));
                    }
                }
                "const" => {
                    if value != argument {
                        found.push(format!("{at} is {value}, not {argument}"));
                    }
                }
                "minimum" | "maximum" => {
                    let number = value.as_f64().zip(argument.as_f64());
                    let fits = number.is_none_or(|(number, bound)| {
                        if keyword == "minimum" {
                            number >= bound
                        } else {
                            number <= bound
                        }
                    });
                    if !fits {
                        found.push(format!("{at} is {value}, beyond {keyword} {argument}"));
                    }
                }
                "required" => {
                    for name in strings(argument) {
                        if value.is_object() && value.get(name).is_none() {
                            found.push(format!("{at} has no {name}"));
                        }
                    }
                }
                "properties" => {
                    for (name, schema) in argument.as_object().expect("properties have names") {
                        if let Some(value) = value.get(name) {
                            self.check(schema, value, &format!("{at}.{name}"), found);
                        }
                    }
                }
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        self.check(argument, value, &format!("{at}.{name}"), found);
                    }
                }
                "items" => {
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(argument, value, &format!("{at}[{index}]"), found);
                    }
                }
                "oneOf" | "anyOf" => self.check_alternatives(keyword, argument, value, at, found),
                other => panic!("the checker does not know {other}"),
            }
        }
        // The lines' own fields are declared through the variant that has the tag, for what the
        // variant refers to does not know of the tag.
        let fields_of_a_line = at == LINE && schema.get("$ref").is_none();
        if schema.get("properties").is_some() && !fields_of_a_line {
            let declared = self.declared(schema);
            for name in value.as_object().into_iter().flat_map(Map::keys) {
                if !declared.contains_key(name) {
                    found.push(format!("nothing declares {at}.{name}"));
                }
            }
        }
    }

    fn check_alternatives(
        &self,
        keyword: &str,
        argument: &Value,
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) {
        let tries: Vec<Vec<String>> = argument
            .as_array()
            .expect("alternatives are a list")
            .iter()
            .map(|schema| {
                let mut wrong = Vec::new();
                self.check(schema, value, at, &mut wrong);
                wrong
            })
            .collect();
        let fitting = tries.iter().filter(|wrong| wrong.is_empty()).count();
        match (keyword, fitting) {
            (_, 1) | ("anyOf", 2..) => {}
            ("oneOf", 2..) => found.push(format!("{at} is {fitting} things at once")),
            // The nearest miss says most.
            _ => found.extend(tries.into_iter().min_by_key(Vec::len).unwrap_or_default()),
        }
    }
}

/// Whether a text is of a pattern that the schema has.
fn matches(text: &str, pattern: &Value) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern.as_str() {
        Some("^[0-9]+$") => digits(text),
        Some("^(e[a-z0-9]+|errno-[0-9]+)$") => match text.strip_prefix("errno-") {
            Some(number) => digits(number),
            None => text.strip_prefix('e').is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            }),
        },
        other => panic!("the checker does not know the pattern {other:?}"),
    }
}

fn is(value: &Value, ty: Option<&str>) -> bool {
    match ty.expect("types are named") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the checker does not know the type {other}"),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}
