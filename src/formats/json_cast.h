// Casts values of foreign JSON to a column's type as `datasets` does: Python's int(), float(), str() and
// bool(), one field at a time.
#pragma once

#include <nlohmann/json.hpp>

#include "formats/json_type.h"

namespace millrace {

// Casts where possible: 3.0 and "3" to a whole number, 3 and true to a floating-point number, 3 to a text. In lists
// only numbers are cast to the other kind of number, without loss. Anything else is left for check_json_fits() to
// refuse: NaN as a whole number, a list as a text.
void cast_json(nlohmann::ordered_json& value, const JsonType& type);

}  // namespace millrace
