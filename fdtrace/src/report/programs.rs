//! What the programs cost, where a user asks for it: by how often each ran and for how long.

use std::io;

use super::schema;
use crate::model::{EXACT_MAX, ProgramCost};

/// Writes a line for each program, below the summary.
pub(super) fn write(out: &mut impl io::Write, programs: &[ProgramCost]) -> io::Result<()> {
    let width = programs.iter().map(|cost| cost.program.len()).max();
    let width = width.unwrap_or_default();
    for (index, cost) in programs.iter().enumerate() {
        let title = if index == 0 { "programs" } else { "" };
        let each = cost.ns_per_run().map_or_else(
            || "       –".to_owned(),
            |ns_per_run| format!("{ns_per_run:>5} ns"),
        );
        write!(
            out,
            "{title:<11}{:<width$}  {:>10} runs  {each} each",
            cost.program, cost.runs
        )?;
        if cost.recursion_misses > 0 {
            write!(out, ", {} skipped", cost.recursion_misses)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn entries(programs: &[ProgramCost]) -> Vec<schema::Program> {
    programs
        .iter()
        .map(|cost| schema::Program {
            program: cost.program.to_owned(),
            runs: cost.runs,
            run_ns: cost.run_ns.min(EXACT_MAX),
            ns_per_run: cost.ns_per_run(),
            recursion_misses: cost.recursion_misses,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: ProgramCost = ProgramCost {
        program: "queue_sk_data_ready",
        runs: 1000,
        run_ns: 184_500,
        recursion_misses: 0,
    };
    const IDLE: ProgramCost = ProgramCost {
        program: "end_kfree_skb",
        runs: 0,
        run_ns: 0,
        recursion_misses: 2,
    };

    #[test]
    fn a_line_says_how_often_and_how_long_on_average() {
        let mut out = Vec::new();
        write(&mut out, &[QUEUE, IDLE]).expect("memory takes it");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "programs   queue_sk_data_ready        1000 runs    184 ns each\n           \
             end_kfree_skb                 0 runs         – each, 2 skipped\n"
        );
    }

    #[test]
    fn what_never_ran_took_no_time_that_could_be_told() {
        let entries = entries(&[QUEUE, IDLE]);
        assert_eq!(entries[0].ns_per_run, Some(184));
        assert_eq!(entries[1].ns_per_run, None);
        assert_eq!(entries[1].recursion_misses, 2);
    }
}
