//! Named: enums whose values have one name each, in text, JSON, the JSON Schema and on the command
//! line.

/// Declares an enum whose names follow from its variants, in the given case (`kebab-case`).
///
/// It gets `ALL`, `name()`, `Display`, `FromStr`, serde's traits and a schema that lists the names.
macro_rules! named {
    ($case:literal; $(#[$meta:meta])* pub enum $name:ident { $($variants:tt)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            strum::Display, strum::EnumCount, strum::EnumString, strum::IntoStaticStr,
            strum::VariantArray, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = $case)]
        #[strum(serialize_all = $case)]
        pub enum $name { $($variants)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: [Self; <Self as strum::EnumCount>::COUNT] =
                match <Self as strum::VariantArray>::VARIANTS.first_chunk() {
                    Some(all) => *all,
                    None => panic!("there are as many variants as are counted"),
                };

            /// Its name in commands and output.
            #[must_use]
            pub fn name(self) -> &'static str {
                self.into()
            }
        }
    };
}
pub(crate) use named;

#[cfg(test)]
mod tests {
    use std::{fmt::Display, str::FromStr};

    use serde::Serialize;
    use serde_json::Value;

    use crate::{
        model::{
            Cause, CauseMissing, DescriptionMissing, Doubt, Fate, FileKind, Hop, Mark, Mechanism,
            Side, SocketType, StillOpen, StillOpenMissing, Verdict,
        },
        verify::{Group, ScenarioResult},
    };

    /// Checks that text, JSON and the command line have one name for each of these, and the schema
    /// lists it.
    fn agree<T>(all: &[T], schema: &schemars::Schema)
    where
        T: Copy + Display + FromStr + PartialEq + std::fmt::Debug + Serialize,
    {
        for value in all {
            let name = value.to_string();
            let json = serde_json::to_value(value).unwrap();
            assert_eq!(json, Value::from(name.clone()));
            assert_eq!(name.parse::<T>().ok(), Some(*value), "{name}");
            assert!(
                schema
                    .as_value()
                    .to_string()
                    .contains(&format!("\"{name}\"")),
                "{name} is not in {schema:?}"
            );
        }
    }

    #[test]
    fn every_value_has_one_name_everywhere() {
        macro_rules! check {
            ($($name:ident),+) => {$(
                agree(&$name::ALL, &schemars::schema_for!($name));
            )+};
        }
        check!(
            CauseMissing,
            DescriptionMissing,
            Doubt,
            Fate,
            FileKind,
            Group,
            Hop,
            Mark,
            Mechanism,
            ScenarioResult,
            Side,
            SocketType,
            StillOpen,
            StillOpenMissing,
            Verdict
        );
        agree(&Cause::NAMED, &schemars::schema_for!(Cause));
    }

    #[test]
    fn an_errno_goes_by_its_own_name() {
        for errno in [libc::EBADF, libc::ENOTDIR, 4000] {
            let cause = Cause::Errno(errno);
            let json = serde_json::to_value(cause).unwrap();
            assert_eq!(json, Value::from(cause.name()));
            assert_eq!(serde_json::from_value::<Cause>(json).unwrap(), cause);
        }
        assert!("errno".parse::<Cause>().is_err());
        assert!("no-errno".parse::<Cause>().is_err());
    }
}
