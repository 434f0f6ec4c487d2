// Has the name of a header of culvert, and must not be taken for it.
#pragma once

namespace consumer {
inline constexpr int kOwnMessages = 2;
}
