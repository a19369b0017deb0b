//! The reports that a run was asked for: which format goes where.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    CannotRun, Output,
    args::{Common, ExtraReport, ReportFormat},
    output,
    place::{Place, write_name},
};
use crate::report::{Json, Report, Several, Tap, Text};

/// Open outputs, the main one first.
pub(super) struct Outputs(Vec<(ReportFormat, Output)>);

impl Outputs {
    /// Opens the main report's place, which is stdout if there is no `file`, and the others'.
    ///
    /// # Errors
    /// If one cannot be written, or two are to be the same file.
    pub(super) fn open(
        format: ReportFormat,
        file: Option<&PathBuf>,
        others: &[ExtraReport],
    ) -> Result<Self> {
        let extra = others.iter().map(|other| (other.format, Some(&other.file)));
        let wanted: Vec<_> = [(format, file)].into_iter().chain(extra).collect();
        let mut places: Vec<Place> = Vec::new();
        for (_, file) in &wanted {
            let file = file.map(PathBuf::as_path);
            let place = output::find(file)?;
            if places.iter().any(|other| place.clashes_with(other)) {
                return Err(CannotRun {
                    what: format!("two reports cannot both be {}", write_name(file)),
                    hint: "give each a file of its own",
                }
                .into());
            }
            places.push(place);
        }
        let open = |((format, file), place): ((ReportFormat, Option<&PathBuf>), Place)| {
            Ok((format, Output::at(place, file.map(PathBuf::as_path))?))
        };
        let outputs = wanted.into_iter().zip(places).map(open);
        Ok(Self(outputs.collect::<Result<_>>()?))
    }

    /// The reports that write there. Aliases for addresses are each report's own.
    pub(super) fn reports(
        &mut self,
        common: &Common,
        kptr_restrict: u8,
        hops: bool,
        buffer_kib: u32,
    ) -> Several<'_> {
        let mut reports: Vec<Box<dyn Report + '_>> = Vec::new();
        for (format, out) in &mut self.0 {
            let pointers = common.pointers(kptr_restrict);
            let width = common.width(out);
            reports.push(match format {
                ReportFormat::Text => {
                    Box::new(Text::new(out, pointers, hops).fit(width).buffer(buffer_kib))
                }
                ReportFormat::Json => Box::new(Json::new(out, pointers, hops)),
                #[cfg(feature = "junit")]
                ReportFormat::Junit => Box::new(crate::report::Junit::new(out)),
                ReportFormat::Tap => Box::new(Tap::new(out)),
            });
        }
        Several::new(reports)
    }

    /// Puts every file in place.
    ///
    /// # Errors
    /// What writing and renaming say; the first, after all were tried.
    pub(super) fn finish(self) -> Result<()> {
        let mut first = Ok(());
        for (_, output) in self.0 {
            first = first.and(output.finish());
        }
        first
    }
}
