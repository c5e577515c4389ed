//! `replay`: makes a recorded decision again, here, from its record alone.
//!
//! The judge is pure, so the record holds all it needs. A decision that comes out differently was
//! not made by this judge from these inputs.
//!
//! Invariant: the comparison is over the exact bytes, not over what they mean.

use agent_gate_core::gate::decision::DecisionRecord;
use serde_json::json;

use super::{Session, VerbError};
use crate::cli::IdArgs;
use crate::client::segment;
use crate::exit::Ending;

pub async fn run(session: &Session, args: IdArgs) -> Result<Ending, VerbError> {
    let path = format!("/v1/decisions/{}", segment(&args.id));
    let answer = session.as_viewer()?.get(&path).await?;
    let record: DecisionRecord = serde_json::from_value(answer["record"].clone())
        .map_err(|_| VerbError::Answer("decision record that can be read"))?;
    let bytes = |decision| serde_json::to_string(decision).expect("a decision has text keys");
    let (recorded, replayed) = (bytes(&record.decision), bytes(&record.replay()));
    let same = recorded == replayed;
    let result = json!({
        "id": args.id,
        "same": same,
        "decision": record.decision.kind.as_str(),
        "recorded": record.decision,
        "replayed": record.replay(),
    });
    session.show(&result, |_| {
        let decision = record.decision.kind.as_str();
        if same {
            format!("{}: {decision}, the same again", args.id)
        } else {
            format!("{}: recorded {decision}, replayed differently\n  {replayed}", args.id)
        }
    });
    Ok(if same { Ending::Done } else { Ending::Denied })
}
