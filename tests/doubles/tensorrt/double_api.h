#pragma once

#define DOUBLE_API __attribute__((visibility("default")))
