//! `fdtrace doctor`: the plan for this kernel, and what stands in its way. With the privileges to
//! trace it also tries the plan on itself; without them it says what types and symbols promise.

use std::io::Write as _;

use anyhow::Result;

use super::{
    EXIT_CANNOT, EXIT_OK, Output,
    args::{Common, Doctor, Format},
};
use crate::{
    kernel::{KernelView, Naming},
    plan::plan,
    report::{self, Fit, schema},
    tracer::Tracer,
    watch::{self, StartError, with_causes},
};

pub(super) fn run(args: &Doctor, common: &Common) -> Result<u8> {
    let view = KernelView::live()?;
    let mut plan = plan(&view, common.attach.into())?;
    let mut obstacles: Vec<String> = watch::obstacles(&view).iter().map(obstacle).collect();
    let mut tested = false;
    if obstacles.is_empty() {
        match Tracer::rehearse(plan.clone(), &view.types) {
            Ok(left) => {
                plan = left;
                tested = true;
            }
            Err(error) => obstacles.push(obstacle(&error.into())),
        }
    }
    let required = args.require.iter();
    let unwatched: Vec<&str> = required
        .filter(|hop| !plan.watches(**hop))
        .map(|hop| hop.name())
        .collect();
    if !unwatched.is_empty() {
        obstacles.push(format!("not watched: {}", unwatched.join(", ")));
    }
    let functions = match view.naming {
        Naming::Shown => schema::Functions::Symbols,
        Naming::Asked(_) => schema::Functions::Asked,
        Naming::Hidden(_) => schema::Functions::Hidden,
    };
    let mut out = Output::open(common.output.as_deref())?;
    match args.format {
        Format::Json => {
            let findings = schema::Line::Doctor(schema::Doctor {
                schema_version: schema::SCHEMA_VERSION,
                fdtrace: env!("CARGO_PKG_VERSION").to_owned(),
                kernel: view.release.clone(),
                plan: plan.entries(),
                tested,
                offsets: plan
                    .offsets
                    .facts()
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), *value))
                    .collect(),
                lsms: view.lsms.clone(),
                lockdown: view.lockdown.clone(),
                kptr_restrict: view.kptr_restrict,
                functions,
                functions_hidden: plan.unnamed.clone(),
                obstacles: obstacles.clone(),
            });
            report::write_json(&mut out, &findings)?;
            writeln!(out)?;
        }
        Format::Text => {
            let width = common.width(&out);
            let mut out = Fit::new(&mut out, width);
            writeln!(
                out,
                "fdtrace {} on Linux {}",
                env!("CARGO_PKG_VERSION"),
                view.release
            )?;
            writeln!(out)?;
            report::write_plan(&mut out, &plan)?;
            writeln!(out)?;
            writeln!(
                out,
                "{} offsets resolved from BTF; kernel.kptr_restrict {}; lockdown {}; LSMs {}",
                plan.offsets.facts().len(),
                view.kptr_restrict,
                view.lockdown.as_deref().unwrap_or("not visible"),
                if view.lsms.is_empty() {
                    "not visible".to_owned()
                } else {
                    view.lsms.join(",")
                },
            )?;
            match &view.naming {
                Naming::Shown => {}
                Naming::Asked(_) => writeln!(
                    out,
                    "functions: where they are is hidden from this process, so the kernel is asked for \
                     their names"
                )?,
                Naming::Hidden(why) => writeln!(
                    out,
                    "functions: not known, nor how a list ends that nobody receives: {why}"
                )?,
            }
            let test = if tested {
                "passed: each hook with ✓ fired when fdtrace passed a descriptor to itself"
            } else {
                "skipped; the plan is from BTF and symbols alone"
            };
            writeln!(out, "self-test: {test}")?;
            if obstacles.is_empty() {
                writeln!(out, "ready to trace")?;
            }
            for obstacle in &obstacles {
                writeln!(out, "cannot trace: {obstacle}")?;
            }
        }
    }
    out.finish()?;
    Ok(if obstacles.is_empty() {
        EXIT_OK
    } else {
        EXIT_CANNOT
    })
}

/// One line: what stands in the way, and what to do about it.
fn obstacle(error: &StartError) -> String {
    let what = with_causes(error);
    match error.hint() {
        Some(hint) => format!("{what}; {hint}"),
        None => what,
    }
}
