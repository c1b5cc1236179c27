"""The harm that one function of JavaScript does with its values."""

from collections.abc import Mapping, Sequence

from tree_sitter import Node

from tidemill.analysis.flow import Call, Evaluate, harms_of
from tidemill.analysis.javascript_strings import is_text, literal_of, returns_text
from tidemill.analysis.javascript_values import Told, Values
from tidemill.analysis.syntax import text_of

_MOST_CODE = 400
"""Characters of a call's arguments that are held against a sink."""
INNER = frozenset(
    {
        *("await_expression", "parenthesized_expression", "as_expression", "satisfies_expression", "spread_element"),
        *("non_null_expression", "yield_expression", "template_substitution", "jsx_expression"),
    }
)
"""Expressions whose value is that of what is in them."""


class Harms(Values):
    """Tells of calls and assignments that do harm."""

    def _harm(self, names: Sequence[str], node: Node, arguments: Sequence[tuple[Node, Told]]) -> bool:
        """Tells of the harm that a call by these names does with its arguments; whether it does any."""
        sinks = self._known.sinks_of(names)
        given = text_of(node.child_by_field_name("arguments"))[:_MOST_CODE] if sinks else ""
        found = harms_of(sinks, names, given)
        for index, (argument, told) in enumerate(arguments):
            fields = self._fields_of(argument, told)
            for kind, position in found if fields is None else ():
                if kind in self._rules.texts and names[-1].partition(".")[0] in self._no_pages:
                    continue
                if position in (None, index):
                    self._harmed(kind, argument, told, node)
            for key, one in (fields or {}).items():
                written = [f"{name}{{{key}}}" for name in names]
                for kind, _ in harms_of(self._known.sinks_of(written), written, ""):
                    self._harmed(kind, argument, one, node)
        return bool(found)

    def _fields_of(self, argument: Node, told: Told) -> Mapping[str, Told] | None:
        """The fields of an object that is written out, here or where its name was declared."""
        declared = self._scope.names.get(told.name) if told.name else None
        if declared is None or declared.node is None or declared.node.type != "object" or declared.keys:
            return told.fields
        return {key: self._field(told, key, argument) for key in self._scope.fields.get(told.name, ())}

    def _harmed(self, kind: str, argument: Node, told: Told, node: Node) -> None:
        if kind in self._rules.texts and not self._is_text(argument):
            return
        words = self._rules.words.get(kind)
        if words is not None and (written := literal_of(argument)) and not words.search(written):
            return
        value = told.start if kind in self._rules.addresses else told.whole
        self._steps.append(Evaluate(Call(self._place(node), ((None, value),), harms=((kind, 0),))))

    def _is_text(self, node: Node) -> bool:
        """Whether an expression is a text, not an object: as it is written, or as the function that gives it says."""
        for _ in range(4):
            if is_text(node, self._scope):
                return True
            if node.type in INNER and node.named_children:
                node = node.named_children[0]
            elif node.type == "identifier":
                declared = self._scope.names.get(text_of(node))
                if declared is None or declared.node is None or declared.keys:
                    return False
                node = declared.node
            else:
                break
        of = self._names.function(self._names.meaning(node.child_by_field_name("function"), self._scope))
        if of is not None and of.node.id not in self._known.texts:
            self._known.texts[of.node.id] = returns_text(of.node, of.scope)
        return of is not None and self._known.texts[of.node.id]
