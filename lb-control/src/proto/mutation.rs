//! Messages that are nearly right, for tests of what reads them: most of what is random is refused by
//! its first bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Something that is done to a message. Places count around its end.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    /// A bit is another one.
    Flip { at: usize, bit: u8 },
    /// A number of so many bytes is this one.
    Set { at: usize, width: usize, value: u64 },
    /// There is an end.
    Cut { at: usize },
    /// Some of it is missing.
    Remove { at: usize, length: usize },
    /// Some of it comes twice.
    Repeat { at: usize, length: usize },
    /// Something comes in between.
    Insert { at: usize, bytes: Vec<u8> },
}

impl Mutation {
    pub(crate) fn apply(&self, message: &mut Vec<u8>) {
        let within = |at: usize| at % (message.len() + 1);
        let some = |at: usize, length: usize| {
            let at = within(at);
            at..(at + length).min(message.len())
        };
        match self {
            Self::Flip { at, bit } => {
                let at = within(*at);
                if let Some(byte) = message.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set { at, width, value } => {
                let range = some(*at, *width);
                let bytes = value.to_be_bytes();
                let bytes = &bytes[bytes.len() - range.len()..];
                message[range].copy_from_slice(bytes);
            }
            Self::Cut { at } => {
                let at = within(*at);
                message.truncate(at);
            }
            Self::Remove { at, length } => {
                let range = some(*at, *length);
                message.drain(range);
            }
            Self::Repeat { at, length } => {
                let range = some(*at, *length);
                let again = message[range.clone()].to_vec();
                message.splice(range.end..range.end, again);
            }
            Self::Insert { at, bytes } => {
                let at = within(*at);
                message.splice(at..at, bytes.iter().copied());
            }
        }
    }
}

/// Numbers at which something changes.
fn some_number() -> impl Strategy<Value = u64> {
    let edges = [8, 16, 32, 64].map(|bits| u64::MAX >> (64 - bits));
    let near = edges
        .into_iter()
        .flat_map(|it| [it, it >> 1, (it >> 1) + 1]);
    let near: Vec<u64> = near.chain([0, 1, 2, 255 * 4, 65_537]).collect();
    prop_oneof![prop::sample::select(near), any::<u64>()]
}

fn some_mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    let length = 1..20_usize;
    prop_oneof![
        3 => (at(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        4 => (at(), prop::sample::select(vec![1_usize, 2, 4, 8]), some_number())
            .prop_map(|(at, width, value)| Mutation::Set { at, width, value }),
        1 => at().prop_map(|at| Mutation::Cut { at }),
        1 => (at(), length.clone()).prop_map(|(at, length)| Mutation::Remove { at, length }),
        1 => (at(), length).prop_map(|(at, length)| Mutation::Repeat { at, length }),
        1 => (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
    ]
}

/// None, or some.
pub(crate) fn some_mutations() -> impl Strategy<Value = Vec<Mutation>> {
    vec(some_mutation(), 0..4)
}

/// One of these, with some mutations.
pub(crate) fn nearly(messages: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let message = prop::sample::select(messages);
    (message, some_mutations()).prop_map(|(mut message, mutations)| {
        mutations.iter().for_each(|it| it.apply(&mut message));
        message
    })
}

/// What may be in the place of something in JSON.
fn some_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        some_number().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        vec(any::<u8>(), 0..3).prop_map(Value::from),
        Just(serde_json::json!({ "more": 1 })),
    ]
}

/// One of these, in which a value is another one, or missing.
pub(crate) fn nearly_json(values: Vec<Value>) -> impl Strategy<Value = Value> {
    let change = (any::<usize>(), prop::option::of(some_value()));
    (prop::sample::select(values), vec(change, 0..3)).prop_map(|(mut value, changes)| {
        for (place, change) in changes {
            let mut places = place % (count(&value) + 1);
            alter(&mut value, &mut places, change.as_ref());
        }
        value
    })
}

/// How many values there are in it.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|it| 1 + count(it)).sum(),
        Value::Object(fields) => fields.values().map(|it| 1 + count(it)).sum(),
        _ => 0,
    }
}

/// Changes, or removes, the one that comes after so many.
fn alter(value: &mut Value, places: &mut usize, change: Option<&Value>) -> bool {
    match value {
        Value::Array(items) => {
            for index in 0..items.len() {
                if *places == 0 {
                    match change {
                        Some(change) => items[index] = change.clone(),
                        None => drop(items.remove(index)),
                    }
                    return true;
                }
                *places -= 1;
                if alter(&mut items[index], places, change) {
                    return true;
                }
            }
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            for name in names {
                if *places == 0 {
                    match change {
                        Some(change) => drop(fields.insert(name, change.clone())),
                        None => drop(fields.remove(&name)),
                    }
                    return true;
                }
                *places -= 1;
                if fields
                    .get_mut(&name)
                    .is_some_and(|it| alter(it, places, change))
                {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}
