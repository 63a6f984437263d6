//! The evaluator agrees with a second one that shares nothing with it, over generated policies and
//! questions. A failure prints the policies and leaves its seed in `proptest-regressions`.

#![expect(
    clippy::expect_used,
    reason = "a test stops when its own input is wrong"
)]

mod fuzz;
mod generate;
mod naive;

use std::collections::BTreeMap;

use parapet_auth::policy::{Layer, simulate};
use parapet_auth::{
    Attached, Context, Decision, Denial, Grants, Policy, PolicyKind, Question, decide,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use generate::Asked;
use naive::Verdict;

#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

fn attached(document: &Value) -> Attached {
    let text = document.to_string();
    let policy = Policy::parse(&text, PolicyKind::Managed);
    Attached::new(
        "generated",
        policy.unwrap_or_else(|error| panic!("{text}: {error}")),
    )
}

fn grants(asked: &Asked) -> Grants {
    let documents = &asked.documents;
    Grants::Policies {
        identity: documents.identity.iter().map(attached).collect(),
        boundary: documents.boundary.as_ref().map(attached),
        session: documents
            .session
            .as_ref()
            .map(|documents| documents.iter().map(attached).collect()),
    }
}

fn context(asked: &Asked) -> Context {
    let mut context = Context::new();
    for (key, values) in &asked.facts {
        context.set_all(key, values.iter().cloned());
    }
    context
}

fn verdict(grants: &Grants, asked: &Asked, context: &Context) -> Verdict {
    let question = Question {
        action: asked.action,
        resource: &asked.resource,
        context,
    };
    match decide(grants, &question) {
        Decision::Allowed { .. } => Verdict::Allowed,
        Decision::Denied(Denial::Explicit(_)) => Verdict::Explicit,
        Decision::Denied(Denial::Unjudged { .. }) => Verdict::Broken,
        Decision::Denied(Denial::NoAllow(Layer::Identity)) => Verdict::LacksIdentity,
        Decision::Denied(Denial::NoAllow(Layer::Boundary)) => Verdict::LacksBoundary,
        Decision::Denied(Denial::NoAllow(Layer::Session)) => Verdict::LacksSession,
        Decision::Denied(Denial::NoArn) => Verdict::NoArn,
        Decision::Denied(other) => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn both_evaluators_say_the_same(asked in generate::asked()) {
        let wanted = naive::decide(&asked.documents, asked.action, &asked.resource, &asked.facts);
        prop_assert_eq!(verdict(&grants(&asked), &asked, &context(&asked)), wanted);
    }

    #[test]
    fn boundary_and_session_never_add(asked in generate::asked()) {
        let (grants, context) = (grants(&asked), context(&asked));
        let Grants::Policies { identity, .. } = grants.clone() else { unreachable!() };
        let narrowed = verdict(&grants, &asked, &context);
        if narrowed == Verdict::Allowed {
            prop_assert_eq!(verdict(&Grants::identity(identity), &asked, &context), Verdict::Allowed);
        }
    }

    #[test]
    fn one_more_deny_never_opens(asked in generate::asked()) {
        let context = context(&asked);
        let mut grants = grants(&asked);
        let before = verdict(&grants, &asked, &context);
        let deny = serde_json::json!({
            "Statement": { "Effect": "Deny", "Action": "s3:*", "Resource": "*" }
        });
        if let Grants::Policies { identity, .. } = &mut grants {
            identity.push(attached(&deny));
        }
        let after = verdict(&grants, &asked, &context);
        if after == Verdict::Allowed {
            prop_assert_eq!(before, Verdict::Allowed);
            prop_assert!(!asked.action.starts_with("s3:"));
        }
    }

    #[test]
    fn the_simulator_says_what_the_evaluator_says(asked in generate::asked()) {
        let (grants, context) = (grants(&asked), context(&asked));
        let found = simulate(
            &grants,
            &[asked.action.to_owned()],
            std::slice::from_ref(&asked.resource),
            &context,
        );
        let question = Question { action: asked.action, resource: &asked.resource, context: &context };
        prop_assert_eq!(&found[0].decision, &decide(&grants, &question));
        if let Decision::Allowed { by } = &found[0].decision {
            prop_assert!(by.iter().all(|statement| found[0].matched.contains(statement)));
        }
    }

    #[test]
    fn the_parser_takes_any_text_without_falling(text in ".{0,200}") {
        drop(Policy::parse(&text, PolicyKind::Managed));
        drop(Policy::parse(&text, PolicyKind::Trust));
    }
}

/// The comparison is worth something only while every kind of answer comes up.
#[test]
fn the_generator_reaches_every_answer() {
    let mut runner = TestRunner::deterministic();
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for _ in 0..2_000 {
        let asked = generate::asked()
            .new_tree(&mut runner)
            .expect("a question")
            .current();
        let verdict = naive::decide(
            &asked.documents,
            asked.action,
            &asked.resource,
            &asked.facts,
        );
        *counts.entry(verdict).or_default() += 1;
    }
    for verdict in [
        Verdict::Allowed,
        Verdict::Explicit,
        Verdict::Broken,
        Verdict::LacksIdentity,
        Verdict::LacksBoundary,
        Verdict::LacksSession,
        Verdict::NoArn,
    ] {
        let count = counts.get(&verdict).copied().unwrap_or_default();
        assert!(count >= 10, "{verdict:?} came up {count} times: {counts:?}");
    }
}
