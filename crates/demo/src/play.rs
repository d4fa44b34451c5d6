//! A demo that keeps running: tasks of the user's own, and their answers.

use std::io::{self, Write as _};

use anyhow::Result;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::answer::Kind;
use crate::broker::{self, FAILURES, RESULTS};
use crate::reader::Reader;
use crate::screen::Screen;
use crate::{Ending, SendArgs};

/// Shows each answer as it arrives, until the user has enough.
pub async fn until(interrupted: &CancellationToken, reader: &mut Reader, screen: &Screen) {
    loop {
        let answer = tokio::select! {
            () = interrupted.cancelled() => return,
            answer = reader.next() => answer,
        };
        let Some(answer) = answer else { return };
        let topic = match answer.kind {
            Kind::Result => RESULTS,
            Kind::Failure => FAILURES,
        };
        screen.say(format!("{topic}: {}", answer.payload));
    }
}

/// Sends one task to a demo that keeps running.
pub fn send(args: &SendArgs) -> Result<Ending> {
    let task: Option<Value> = serde_json::from_str(&args.task).ok();
    let key = task.as_ref().and_then(|task| task.get("task_id")).and_then(Value::as_str);
    broker::send_one(&args.bootstrap, &args.topic, key, &args.task)?;
    let _ = writeln!(io::stdout(), "Sent to {}; the running demo shows the answer.", args.topic);
    Ok(Ending::AllRight)
}
