package dev.perigee.peer;

import java.util.List;
import java.util.Map;

/** The record of the schema tests; Avro and JSON definitions are derived from its fields by the Java client. */
public class Order {
    public String id;
    public int quantity;
    public long total;
    public double price;
    public boolean paid;
    public List<String> tags;
    public Map<String, Integer> stock;
    public Address address;

    /** A nested record. */
    public static class Address {
        public String street;
        public int number;
    }
}
