;; Has a table with indices of 64 bits.
(component
  (core module
    (table i64 0 funcref)))
