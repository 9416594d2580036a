"""The part of the route table about rules and decisions."""

from ..routes import Route
from . import explain, imports, rules
from .models_explain import Explained, ExplainQuery
from .models_imports import MAX_FILE, ImportQuery, ImportReport
from .models_rules import (
    ChangedDefaults,
    Defaults,
    NewConditionalRule,
    NewSubjectRules,
    PlaceQuery,
    SubjectPage,
    SubjectQuery,
    SubjectRules,
)

_NOT_FOUND = {404: ("NOT_FOUND",)}
_RULES = "/rules/{subject_type}/{subject}"

ACCESS = (
    Route("GET", "/rules", rules.list_subjects, "List who has rules", "Rules", query=SubjectQuery, answer=SubjectPage),
    Route("GET", _RULES, rules.get_rules, "Show rules", "Rules", answer=SubjectRules, errors=_NOT_FOUND),
    Route(
        "PUT",
        _RULES,
        rules.set_rules,
        "Set rules",
        "Rules",
        body=NewSubjectRules,
        answer=SubjectRules,
        errors=_NOT_FOUND,
    ),
    Route(
        "POST",
        _RULES,
        rules.add_rule,
        "Add a rule",
        "Rules",
        query=PlaceQuery,
        body=NewConditionalRule,
        answer=SubjectRules,
        status=201,
        errors=_NOT_FOUND,
    ),
    Route("DELETE", _RULES, rules.delete_rules, "Delete rules", "Rules", status=204, errors=_NOT_FOUND),
    Route("GET", "/rules/all", rules.get_all_rules, "Show the rules for all", "Rules", answer=SubjectRules),
    Route(
        "PUT",
        "/rules/all",
        rules.set_all_rules,
        "Set the rules for all",
        "Rules",
        body=NewSubjectRules,
        answer=SubjectRules,
    ),
    Route(
        "POST",
        "/rules/all",
        rules.add_rule_for_all,
        "Add a rule for all",
        "Rules",
        query=PlaceQuery,
        body=NewConditionalRule,
        answer=SubjectRules,
        status=201,
    ),
    Route(
        "DELETE",
        "/rules/all",
        rules.delete_all_rules,
        "Delete the rules for all",
        "Rules",
        status=204,
        errors=_NOT_FOUND,
    ),
    Route("GET", "/defaults", rules.get_defaults, "Show what holds where no rule fits", "Rules", answer=Defaults),
    Route(
        "PATCH",
        "/defaults",
        rules.set_defaults,
        "Change what holds where no rule fits",
        "Rules",
        body=ChangedDefaults,
        answer=Defaults,
    ),
    Route(
        "GET",
        "/acl/explain",
        explain.explain_decision,
        "Say which rule decides",
        "Rules",
        query=ExplainQuery,
        answer=Explained,
        errors=_NOT_FOUND,
    ),
    Route(
        "POST",
        "/imports/{source}",
        imports.import_source,
        "Import users or rules from a file of another broker",
        "Imports",
        query=ImportQuery,
        body=bytes,
        max_body_size=MAX_FILE,
        answer=ImportReport,
    ),
)
