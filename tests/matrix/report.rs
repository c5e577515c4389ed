//! The table: one row for each class, one line for each run that went wrong.

use super::faults::Fault;
use super::watching::Run;

/// All runs of one class.
#[derive(Debug)]
pub struct Row {
    pub fault: &'static Fault,
    pub runs: Vec<Run>,
    /// Runs that were repeated, because this machine stood still.
    pub void: usize,
}

impl Row {
    pub fn located(&self) -> usize {
        self.runs.iter().filter(|run| run.located_ms.is_some()).count()
    }

    pub fn blind(&self) -> usize {
        self.runs.iter().filter(|run| run.blind_ms.is_some()).count()
    }

    fn print(&self) {
        let expect = self.fault.expect[0];
        println!(
            "| {} | `{}`, {} | {}/{} | {} | {} | {} | {} | {} |",
            self.fault.name,
            expect.0,
            expect.1,
            self.located(),
            self.runs.len(),
            self.blind(),
            spread(self.runs.iter().filter_map(|run| run.noticed_ms)),
            spread(self.runs.iter().filter_map(|run| run.located_ms)),
            spread(self.runs.iter().map(|run| run.misplaced_ms)),
            spread(self.runs.iter().map(|run| run.healed_ms)),
        );
    }
}

/// Median and most, in milliseconds.
fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    match values.last() {
        Some(most) => format!("{} / {most}", values[values.len() / 2]),
        None => "never".to_owned(),
    }
}

/// Prints the table and what went wrong.
pub fn print(rows: &[Row]) {
    println!(
        "| fault | right is | located | `live` past the bound | noticed | located | misplaced | \
         live again |\n|---|---|---|---|---|---|---|---|"
    );
    rows.iter().for_each(Row::print);
    let runs: usize = rows.iter().map(|row| row.runs.len()).sum();
    let located: usize = rows.iter().map(Row::located).sum();
    let worst = rows.iter().flat_map(|row| &row.runs).map(|run| run.allowance_ms).max();
    let void: usize = rows.iter().map(|row| row.void).sum();
    println!(
        "{located} of {runs} located; {void} runs more were void, for this machine stood \
         still; times in ms (median / most); the bounds were extended by {} ms at the most, four \
         times the worst lateness of the run",
        worst.unwrap_or(0)
    );
    for row in rows {
        if let Some(gap) = row.fault.gap {
            println!("gap: {}: {gap}", row.fault.name);
        }
        for run in &row.runs {
            if run.located_ms.is_none() || run.blind_ms.is_some() {
                let said = run.said.iter();
                let said = said.map(|s| format!("{} {}/{}", s.at_ms, s.verdict, s.stage));
                let said: Vec<_> = said.collect();
                let gap = row.fault.gap.map_or("wrong", |_| "gap");
                println!("{gap}: {}: {}", row.fault.name, said.join(", "));
            }
        }
    }
}
