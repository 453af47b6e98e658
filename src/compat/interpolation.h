// OmegaConf's interpolations: texts with ${key}, replaced by what the key has.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "config/placed_value.h"

namespace millrace {

using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

// Resolves every text of the tree. `${a.b}` alone has the value's type, also a list or a table; within other text it is
// what Python's str() writes. Keys count from the root, after a dot from the table that the text is in, after two from
// the one around that. ${a.${b}} resolves ${b} first; `\${` is `${`. ${oc.env:NAME} and ${oc.env:NAME,default} ask
// environment; ${oc.decode:TEXT} is the value that the text would have in the file, as ${oc.decode:${oc.env:N}};
// ${oc.select:KEY,default} may name a key that is not there, which without a default is null. Throws ConfigError that
// names place and, for an unknown key, the nearest one: also for circles and for more than 1 MiB of text in all.
void resolve_interpolations(PlacedValue& root, const std::string& file_name, const EnvironmentLookup& environment);

}  // namespace millrace
