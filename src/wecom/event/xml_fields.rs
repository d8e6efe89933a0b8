//! Gathers the deciding fields of an XML plaintext in one pass, without building a tree.
//!
//! Only direct children of the root are fields, since names come back deeper down (`MsgType` inside a `MsgItem`,
//! markup in user texts); the few nested ones that count are named below.

use std::borrow::Cow;

use crate::wecom::event::fields::{Fields, Job, Slot, root_slot};
use crate::wecom::leaf::LeafText;
use crate::wecom::limits::ReadLimits;
use crate::wecom::xml::{Piece, XmlFault, XmlReader};

/// Where in the document the reader is.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Field(Slot),
    /// `<Event>`: a name, or in the group robot's form an element with the child `EventType`.
    Event,
    /// `<From>` of a group robot.
    From,
    /// `<Attachment>` of a group robot: a pressed button.
    Attachment,
    Actions,
    SelectedItems,
    SelectedItem,
    QuestionKey,
    OptionIds,
    OptionId,
    /// `<SubscribeMsgSentEvent>` of an Official Account.
    SentJobs,
    /// One `<List>` in it.
    SentJob,
    JobMessage,
    JobCode,
    JobStatus,
    Elsewhere,
}

impl Place {
    /// The place of a child called `name`.
    fn child(self, name: &str) -> Self {
        match (self, name) {
            (Self::Root, "Event") => Self::Event,
            (Self::Root, "From") => Self::From,
            (Self::Root, "Attachment") => Self::Attachment,
            (Self::Root, "SelectedItems") => Self::SelectedItems,
            (Self::Root, "SubscribeMsgSentEvent") => Self::SentJobs,
            (Self::Root, name) => root_slot(name).map_or(Self::Elsewhere, Self::Field),
            (Self::Event, "EventType") => Self::Field(|f| &mut f.event),
            (Self::From, "UserId") => Self::Field(|f| &mut f.robot_user_id),
            (Self::Attachment, "CallbackId") => Self::Field(|f| &mut f.task_id),
            (Self::Attachment, "Actions") => Self::Actions,
            (Self::Actions, "Value") => Self::Field(|f| &mut f.event_key),
            (Self::SelectedItems, "SelectedItem") => Self::SelectedItem,
            (Self::SelectedItem, "QuestionKey") => Self::QuestionKey,
            // The misspelling is the platform's; both forms are in its documents.
            (Self::SelectedItem, "OptionIds" | "OpitonIds") => Self::OptionIds,
            (Self::OptionIds, "OptionId" | "OpitonId") => Self::OptionId,
            (Self::SentJobs, "List") => Self::SentJob,
            (Self::SentJob, "MsgID") => Self::JobMessage,
            (Self::SentJob, "ErrorCode") => Self::JobCode,
            (Self::SentJob, "ErrorStatus") => Self::JobStatus,
            _ => Self::Elsewhere,
        }
    }
}

/// Reads the whole document.
///
/// # Errors
/// It is not well-formed or breaks a limit.
pub(super) fn read<'a>(text: &'a str, limits: &ReadLimits) -> Result<Fields<'a>, XmlFault> {
    let mut reader = XmlReader::new(text, limits);
    let mut fields = Fields::default();
    let mut places: Vec<Place> = Vec::with_capacity(limits.xml_depth_max);
    let mut leaf = LeafText::default();
    loop {
        match reader.next()? {
            Piece::Open(name) => {
                let place = places.last().map_or(Place::Root, |parent| parent.child(name.as_str()));
                if matches!(place, Place::SelectedItem) {
                    fields.selected.push((String::new(), Vec::new()));
                }
                if matches!(place, Place::SentJob) {
                    fields.jobs.push(Job::default());
                }
                places.push(place);
                leaf = LeafText::default();
            }
            Piece::Text { text, cdata } => {
                if !matches!(places.last(), Some(Place::Elsewhere | Place::Root)) {
                    leaf.push(text, cdata);
                }
            }
            Piece::Close => {
                let text = std::mem::take(&mut leaf).trimmed();
                match places.pop() {
                    Some(Place::Field(slot)) => fields.set(slot, text),
                    Some(Place::Event) => fields.set(|f| &mut f.event, text),
                    Some(Place::QuestionKey) => {
                        if let Some((question, _)) = fields.selected.last_mut() {
                            *question = text.into_owned();
                        }
                    }
                    Some(Place::OptionId) => {
                        if let Some((_, chosen)) = fields.selected.last_mut() {
                            chosen.push(text.into_owned());
                        }
                    }
                    Some(place) => set_in_job(&mut fields, place, text),
                    None => {}
                }
            }
            Piece::End => return Ok(fields),
        }
    }
}

/// Fills a field of the job that was opened last, if `place` is one.
fn set_in_job<'a>(fields: &mut Fields<'a>, place: Place, text: Cow<'a, str>) {
    let Some(job) = fields.jobs.last_mut() else { return };
    match place {
        Place::JobMessage => job.message_id = text,
        Place::JobCode => job.error_code = text,
        Place::JobStatus => job.error_status = text,
        _ => {}
    }
}
