-- SPDX-License-Identifier: MIT
-- Read by busted before the first spec.  Specs find their helpers as
-- "spec.support.*"; LUNADO_GC runs all of them under another collector.
package.path = "./?.lua;" .. package.path
require "spec.support.system".set_up()

assert(load(require "spec.support.gc".chosen))()
