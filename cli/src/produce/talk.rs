//! Producing by hand: a prompt, and after each line what became of it.

use std::future::Future;

use tokio::sync::mpsc;

use super::{
    feed::{Ended, Feed},
    source::Block,
};
use crate::ui::Ui;

impl Feed<'_> {
    /// Sends each line as it is typed and tells where it went, until there are no more, or
    /// `interrupt`, or a record is not acknowledged. A line that cannot be a record is told
    /// and passed over. Afterwards [`Feed::finish`] waits for what is left.
    pub async fn talk(
        &mut self,
        blocks: &mut mpsc::Receiver<Block>,
        interrupt: impl Future<Output = ()>,
        ui: Ui,
    ) -> Ended {
        tokio::pin!(interrupt);
        self.remember_answers();
        loop {
            ui.prompt("> ");
            let block = tokio::select! {
                biased;
                () = &mut interrupt => return Ended::Interrupted,
                block = blocks.recv() => block,
            };
            let lines = match block {
                None => return Ended::Input,
                Some(Err(error)) => return Ended::Error(error),
                Some(Ok(lines)) => lines,
            };
            for line in lines {
                let answered = async {
                    let sent = self.send(vec![line]).await;
                    self.answers().await;
                    sent
                };
                let sent = tokio::select! {
                    biased;
                    () = &mut interrupt => return Ended::Interrupted,
                    sent = answered => sent,
                };
                for (partition, offset) in self.take_answers() {
                    ui.note(&format!("ok {partition}@{offset}"));
                }
                match sent {
                    _ if !self.tally.is_clean() => return Ended::Failure,
                    Ok(()) => {}
                    Err(Ended::Error(error)) => {
                        ui.error(&error);
                        self.passed_over += 1;
                    }
                    Err(ended) => return ended,
                }
            }
        }
    }
}
