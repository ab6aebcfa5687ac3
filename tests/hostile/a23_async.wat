;; Has a function that may return before it is done.
(component
  (import "later" (func async (result u32))))
