"""What Litestar cannot describe by itself: the event, one of whose defaults it cannot hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from trackgate.model import Event

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Schema

REQUIRED = ["id", "received_at", "source", "vendor"]


class EventSchema(OpenAPISchemaPlugin):
    """The canonical event, field by field, without its defaults."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.annotation is Event

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        hints = field_definition.get_type_hints(include_extras=True)
        fields = {
            name: FieldDefinition.from_annotation(hints[name], name=name) for name in Event.__struct_encode_fields__
        }
        return schema_creator.create_component_schema(field_definition, required=REQUIRED, property_fields=fields)
