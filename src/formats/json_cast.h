// Values of other people's JSON made to fit a column's type, as `datasets` makes them fit: int(), float(), str() and
// bool() of Python, one field at a time.
#pragma once

#include <nlohmann/json.hpp>

#include "formats/json_type.h"

namespace millrace {

// Changes what can be changed: 3.0 and "3" for a whole number, 3 and true for a floating-point one, 3 for a text. In
// lists only numbers become numbers of the other kind, without loss. The rest is left for check_json_fits() to refuse:
// NaN as a whole number, a list as a text.
void cast_json(nlohmann::ordered_json& value, const JsonType& type);

}  // namespace millrace
