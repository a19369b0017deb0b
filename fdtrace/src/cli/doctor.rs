//! `fdtrace doctor`: the plan for this kernel, and what stands in its way. With the privileges to
//! trace it also tries the plan on itself; without them it says what types and symbols promise.

use std::io::Write;

use anyhow::Result;

use super::{
    EXIT_CANNOT, EXIT_OK, Output,
    args::{Common, Doctor, Format},
};
use crate::{
    kernel::{self, Confinement, KernelView, Naming, settings},
    plan::{Attach, Plan, PlanError, Price, places, plan},
    report::{self, Fit, schema},
    tracer::Tracer,
    watch::{self, StartError, with_causes},
};

pub(super) fn run(args: &Doctor, common: &Common) -> Result<u8> {
    let view = KernelView::live()?;
    let attach = common.attach.into();
    let planned = plan(&view, attach);
    let mut findings = Findings {
        obstacles: watch::obstacles(&view).iter().map(obstacle).collect(),
        plan: None,
        tested: false,
        verifier: Vec::new(),
        view,
    };
    match planned {
        Ok(plan) => findings.rehearse(plan, attach),
        // On a kernel that is like no other, what it has is worth knowing all the same.
        Err(error) if args.format == Format::Json && !is_choice(&error) => {
            findings.obstacles.push(with_causes(&error));
        }
        Err(error) => return Err(error.into()),
    }
    let unwatched: Vec<&str> = args
        .require
        .iter()
        .filter(|hop| {
            !findings
                .plan
                .as_ref()
                .is_some_and(|plan| plan.watches(**hop))
        })
        .map(|hop| hop.name())
        .collect();
    if !unwatched.is_empty() {
        let obstacle = format!("not watched: {}", unwatched.join(", "));
        findings.obstacles.push(obstacle);
    }
    let mut out = Output::open(common.output.as_deref())?;
    match args.format {
        Format::Json => {
            report::write_json(&mut out, &schema::Line::Doctor(findings.for_a_report()?))?;
            writeln!(out)?;
        }
        Format::Text => {
            let width = common.width(&out);
            findings.write(&mut Fit::new(&mut out, width))?;
        }
    }
    out.finish()?;
    Ok(match findings.obstacles.is_empty() {
        true => EXIT_OK,
        false => EXIT_CANNOT,
    })
}

/// Whether it is for want of what the user asked for.
fn is_choice(error: &PlanError) -> bool {
    matches!(error, PlanError::NothingToAttach { .. })
}

/// One line: what stands in the way, and what to do about it.
fn obstacle(error: &StartError) -> String {
    let what = with_causes(error);
    match error.hint() {
        Some(hint) => format!("{what}; {hint}"),
        None => what,
    }
}

/// What was found.
struct Findings {
    view: KernelView,
    /// As it came out of the self-test, if that was made; absent where nothing can be planned.
    plan: Option<Plan>,
    tested: bool,
    obstacles: Vec<String>,
    /// How the verifier's log ends, if it refused a program.
    verifier: Vec<String>,
}

impl Findings {
    /// Tries `plan`, and others without what does not work, unless something stands in the way.
    fn rehearse(&mut self, plan: Plan, attach: Attach) {
        self.plan = Some(plan);
        if !self.obstacles.is_empty() {
            return;
        }
        let works = watch::what_works(&mut self.view, attach, Price::Low, |plan, types| {
            Tracer::rehearse(&plan, types).map(|()| plan)
        });
        match works {
            Ok(plan) => {
                self.plan = Some(plan);
                self.tested = true;
            }
            Err(error) => {
                const LINES: usize = 40;
                let log = error.verifier_log().unwrap_or_default().trim_end();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LINES)..];
                self.verifier = last.iter().map(|line| without_addresses(line)).collect();
                self.obstacles.push(obstacle(&error));
            }
        }
    }

    /// All that somebody needs who has not got this machine, and nothing that tells whose it is.
    fn for_a_report(&self) -> Result<schema::Doctor> {
        let confinement = Confinement::current();
        let offsets = self.plan.iter().flat_map(|plan| plan.offsets.facts());
        Ok(schema::Doctor {
            schema_version: schema::SCHEMA_VERSION,
            fdtrace: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.view.release.clone(),
            build: settings::build(),
            distribution: settings::distribution(),
            machine: std::env::consts::ARCH.to_owned(),
            page_size: settings::page_size(),
            settings: settings::settings(),
            plan: self.plan.as_ref().map_or_else(Vec::new, Plan::entries),
            tested: self.tested,
            offsets: offsets
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            places: places(&self.view)?.into_iter().map(Into::into).collect(),
            lsms: self.view.lsms.clone(),
            lockdown: self.view.lockdown.clone(),
            kptr_restrict: self.view.kptr_restrict,
            functions: match self.view.naming {
                Naming::Shown => schema::Functions::Symbols,
                Naming::Asked(_) => schema::Functions::Asked,
                Naming::Hidden(_) => schema::Functions::Hidden,
            },
            functions_hidden: self.view.naming.lacking().map(str::to_owned),
            casts: self.view.rdonly_cast.is_some(),
            process: schema::Process {
                lacks: self.view.capabilities.lacking_for_tracing(),
                seccomp: confinement.seccomp,
                in_machine_user_namespace: kernel::is_in_init_user_namespace(),
                in_machine_pid_namespace: self.view.init_pid_namespace,
                locked_memory: confinement.locked_memory,
            },
            obstacles: self.obstacles.clone(),
            verifier: self.verifier.clone(),
        })
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        let view = &self.view;
        let version = env!("CARGO_PKG_VERSION");
        writeln!(out, "fdtrace {version} on Linux {}", view.release)?;
        writeln!(out)?;
        if let Some(plan) = &self.plan {
            report::write_plan(out, plan)?;
            writeln!(out)?;
            let lsms = match view.lsms.is_empty() {
                true => "not visible".to_owned(),
                false => view.lsms.join(","),
            };
            writeln!(
                out,
                "{} offsets resolved from BTF; kernel.kptr_restrict {}; lockdown {}; LSMs {lsms}",
                plan.offsets.facts().len(),
                view.kptr_restrict,
                view.lockdown.as_deref().unwrap_or("not visible"),
            )?;
        }
        match &view.naming {
            Naming::Shown => {}
            Naming::Asked(_) => writeln!(
                out,
                "functions: the symbols do not say where they are, so the kernel is asked for \
                 their names"
            )?,
            Naming::Hidden(why) => writeln!(
                out,
                "functions: not known, nor how a list ends that nobody receives: {why}"
            )?,
        }
        let test = match self.tested {
            true => "passed: each hook with ✓ fired when fdtrace passed a descriptor to itself",
            false => "skipped; the plan is from BTF and symbols alone",
        };
        writeln!(out, "self-test: {test}")?;
        if self.obstacles.is_empty() {
            writeln!(out, "ready to trace")?;
        }
        for obstacle in &self.obstacles {
            writeln!(out, "cannot trace: {obstacle}")?;
        }
        Ok(())
    }
}

/// A line of the verifier's with kernel addresses left out: it writes down those of maps.
fn without_addresses(line: &str) -> String {
    const ADDRESS: &str = "0xffff";
    let mut parts = line.split(ADDRESS);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        // Half of one is a number.
        match digits {
            12.. => text.push_str("0x…"),
            _ => {
                text.push_str(ADDRESS);
                text.push_str(&part[..digits]);
            }
        }
        text.push_str(&part[digits..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_log_is_shown_without_kernel_addresses() {
        for (line, shown) in [
            ("0: (18) r1 = 0xffff888109ba1400", "0: (18) r1 = 0x…"),
            (
                "a 0xffffffff81000000 b 0xffff888109ba1400 c",
                "a 0x… b 0x… c",
            ),
            ("R1=scalar(umax=0xffffffff)", "R1=scalar(umax=0xffffffff)"),
            ("R1 invalid mem access 'inv'", "R1 invalid mem access 'inv'"),
        ] {
            assert_eq!(without_addresses(line), shown);
        }
    }
}
